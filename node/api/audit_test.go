package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// callsOf are those that a node tells of, with their texts in one line.
func callsOf(t *testing.T, s *stub) (all []node.Call) {
	require.NoError(t, s.Server.Events(t.Context(), node.Since{}, func(e node.Event) error {
		if c, ok := e.Told.(node.Call); ok {
			require.Equal(t, "call", e.Operation)
			all = append(all, c)
		}
		return nil
	}))
	return all
}

func TestWhoCalledWhatFromWhereAndHowItEnded(t *testing.T) {
	s := secure(t, "")
	admin := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:admin", time.Hour)), s.url())
	reader := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:reader", time.Hour)), s.url())
	s.stub.plan = func(r node.PlanRequest) (node.Plan, error) {
		if r.Image == "bad" {
			return node.Plan{}, errSick
		}
		return node.Plan{}, nil
	}
	ctx := t.Context()
	_, err := reader.Version(ctx, &pawlv1.VersionRequest{})
	require.NoError(t, err)
	_, err = admin.Plan(ctx, &pawlv1.PlanRequest{Image: "os:2"})
	require.NoError(t, err)
	_, err = admin.Plan(ctx, &pawlv1.PlanRequest{Image: "bad"})
	require.Error(t, err)
	_, err = reader.Plan(ctx, &pawlv1.PlanRequest{Image: "os:2"})
	require.Equal(t, "denied", kindOf(t, err))
	stream, err := admin.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	_, err = receive(t, stream)
	require.Error(t, err)
	stream, err = reader.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	_, err = receive(t, stream)
	require.Equal(t, "denied", kindOf(t, err))
	s.clock(s.now().Add(2 * time.Hour))
	_, err = admin.Cancel(ctx, &pawlv1.CancelRequest{})
	require.Equal(t, "caller-unknown", kindOf(t, err))

	told := callsOf(t, s.stub)
	for i := range told {
		require.Equal(t, "127.0.0.1", told[i].From)
		require.Equal(t, told[i].Done, told[i].Elapsed > 0 || told[i].Caller == "")
		told[i].From, told[i].Elapsed = "", 0
	}
	const alice, bob = "CN=alice,O=pawl:admin", "CN=alice,O=pawl:reader"
	require.Len(t, told, 7)
	require.ErrorIs(t, told[1].Err, errSick)
	for _, i := range []int{2, 5} {
		require.EqualError(t, told[i].Err, told[i].Method+" needs the role "+
			map[int]string{2: "operator", 5: "admin"}[i]+", and "+bob+" is reader: the caller may not do that")
	}
	require.ErrorIs(t, told[6].Err, access.ErrUnknown)
	for i := range told {
		told[i].Err = nil
	}
	request := `{"image":"os:2"}`
	require.Equal(t, []node.Call{
		{Caller: alice, Role: "admin", Method: "Plan", Request: request, Done: true},
		{Caller: alice, Role: "admin", Method: "Plan", Request: `{"image":"bad"}`, Done: true},
		{Caller: bob, Role: "reader", Method: "Plan", Request: request, Done: true, Denied: true},
		{Caller: alice, Role: "admin", Method: "Upgrade", Request: request},
		{Caller: alice, Role: "admin", Method: "Upgrade", Request: request, Done: true},
		{Caller: bob, Role: "reader", Method: "Upgrade", Done: true, Denied: true},
		{Method: "Cancel", Done: true, Denied: true},
	}, told)
	for _, line := range []string{
		`level=INFO msg=call caller="CN=alice,O=pawl:admin" from=127.0.0.1 role=admin method=Plan ` +
			`request="{\"image\":\"os:2\"}" result=done elapsed=`,
		`method=Plan request="{\"image\":\"bad\"}" result="unknown: the disk smells" elapsed=`,
		`level=WARN msg=call caller="CN=alice,O=pawl:reader" from=127.0.0.1 role=reader method=Plan`,
		`method=Upgrade request="{\"image\":\"os:2\"}" result=begins`,
		`level=WARN msg=call caller="" from=127.0.0.1 role="" method=Cancel request="" result="caller-unknown: `,
	} {
		require.Contains(t, s.said(), line)
	}
	require.NotContains(t, s.said(), "method=Version")
}

// Anybody can be refused as often as they like.
func TestRefusalsAreToldAtABoundedRate(t *testing.T) {
	var log strings.Builder
	s := dull(t)
	at := time.Now()
	a := &audit{log: slog.New(slog.NewTextHandler(&log, nil)), tell: s.Called, now: func() time.Time { return at },
		free: refusalsAtOnce}
	refuse := func(n int) {
		for range n {
			a.called(access.With(context.Background(), access.Caller{Name: strings.Repeat("x\xff\n", 1000), From: "h"}),
				access.Admin, node.Call{Method: "Upgrade", Done: true, Err: access.ErrDenied}, nil)
		}
	}
	refuse(10_000)
	require.Len(t, callsOf(t, s), refusalsAtOnce)
	require.Equal(t, refusalsAtOnce, strings.Count(log.String(), "\n"), "a line each, whatever is in a name")
	at = at.Add(refusalEvery)
	refuse(10_000)
	told := callsOf(t, s)
	require.Len(t, told, refusalsAtOnce+1)
	require.Equal(t, 10_000-refusalsAtOnce, told[refusalsAtOnce].Untold)
	require.LessOrEqual(t, len(told[0].Caller), 1024)
	require.Contains(t, log.String(), "untold=9984")
	at = at.Add(time.Hour)
	refuse(10_000)
	require.Len(t, callsOf(t, s), 2*refusalsAtOnce+1)
}

func TestRefusalsPushOutNothingElse(t *testing.T) {
	s := dull(t)
	for range 200 {
		s.Called(node.Call{Method: "Plan", Done: true})
	}
	for range 10_000 {
		s.Called(node.Call{Method: "Upgrade", Denied: true, Done: true})
	}
	all := callsOf(t, s)
	require.Len(t, all, 256)
	require.False(t, all[127].Denied)
	require.True(t, all[128].Denied)
}

func TestACallerOnTheSocketIsToldByItsUser(t *testing.T) {
	s := dull(t)
	path := filepath.Join(t.TempDir(), "s")
	served(t, newAPI(s, Options{}), "unix:"+path)
	_, err := pawlv1.NewNodeClient(overSocket(t, dialAsSelf, path), "http://node").Plan(t.Context(),
		&pawlv1.PlanRequest{Image: "os:2"})
	require.ErrorContains(t, err, errSick.Error())
	all := callsOf(t, s)
	require.Len(t, all, 1)
	require.Equal(t, fmt.Sprintf("uid %d (pid %d)", os.Getuid(), os.Getpid()), all[0].Caller)
	require.Equal(t, "socket", all[0].From)
	require.Equal(t, "admin", all[0].Role)
}

func TestAPageThatAsksIsTold(t *testing.T) {
	s := dull(t)
	to := served(t, newAPI(s, Options{}), "127.0.0.1:0")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+to.String()+"/pawl.v1.Node/Reboot",
		strings.NewReader("{}"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://evil.example.com")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	all := callsOf(t, s)
	require.Len(t, all, 1)
	require.ErrorIs(t, all[0].Err, ErrHost)
	require.Equal(t, "127.0.0.1", all[0].From)
	require.Equal(t, "Reboot", all[0].Method)
}
