package client

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// trial is what an upgrade from 1 in slot A to 2 in slot B expects.
func trial() *pawlv1.Expected {
	return &pawlv1.Expected{BootId: "boot-1", Version: "2", Image: "sha256:2", Slot: "B", Trial: true, Attempt: "a"}
}

// state is a node in some boot, with the given slots active, default and armed.
func state(boot, active, def, armed string, change ...func(*pawlv1.StatusResponse)) *pawlv1.StatusResponse {
	st := &pawlv1.StatusResponse{
		BootId: boot, Active: active, Default: def, Armed: armed, Trial: active != def,
		Slots: []*pawlv1.Slot{{Name: "A", Version: "1", Image: "sha256:1"},
			{Name: "B", Version: "2", Image: "sha256:2"}},
	}
	for _, c := range change {
		c(st)
	}
	return st
}

func attempt(id, result, reason string) func(*pawlv1.StatusResponse) {
	return func(st *pawlv1.StatusResponse) {
		st.Attempt = &pawlv1.Attempt{Id: id, Result: result, Reason: reason, Image: "sha256:2"}
	}
}

func TestJudge(t *testing.T) {
	rollback := &pawlv1.Expected{BootId: "boot-1", Version: "1", Image: "sha256:1", Slot: "A"}
	unnamed := trial()
	unnamed.Attempt = ""
	same := func(st *pawlv1.StatusResponse) { st.Slots[0].Image, st.Slots[0].Version = "sha256:2", "2" }
	for name, test := range map[string]struct {
		expected *pawlv1.Expected
		state    *pawlv1.StatusResponse
		verdict  verdict
		text     string
	}{
		"not down yet": {trial(), state("boot-1", "A", "A", "B"), pending, "not restarted yet"},
		"still writing": {trial(), state("boot-1", "A", "A", "", func(st *pawlv1.StatusResponse) {
			st.Operation = &pawlv1.Operation{Name: "upgrade to os:2", Running: true,
				Progress: &pawlv1.Progress{Step: "write"}}
		}), pending, "upgrade to os:2: write"},
		"the upgrade failed": {trial(), state("boot-1", "A", "A", "", func(st *pawlv1.StatusResponse) {
			st.Operation = &pawlv1.Operation{Name: "upgrade to os:2", Error: "the disk is full"}
		}), lost, "the disk is full"},
		"the service was started anew": {trial(), state("boot-1", "A", "A", "", func(st *pawlv1.StatusResponse) {
			st.Operation = &pawlv1.Operation{Name: "settle"}
			st.Attempt = &pawlv1.Attempt{Id: "a", Result: "abandoned", Reason: "the node service ended",
				Image: "sha256:2", BootEnded: "boot-1"}
		}), lost, "the upgrade is over: the node service ended"},
		"another was abandoned in an earlier boot": {trial(), state("boot-1", "A", "A", "",
			func(st *pawlv1.StatusResponse) {
				st.Attempt = &pawlv1.Attempt{Id: "b", Result: "abandoned", Image: "sha256:2", BootEnded: "boot-0"}
			}), pending, "not restarted yet"},
		"staged, the connection was lost before its id was known": {unnamed, state("boot-2", "A", "A", "",
			func(st *pawlv1.StatusResponse) {
				st.Attempt = &pawlv1.Attempt{Id: "a", Phase: "staged", Staging: "applying", Image: "sha256:2"}
			}), pending, "the upgrade to 2 is applying"},
		"another is staged": {unnamed, state("boot-2", "A", "A", "", func(st *pawlv1.StatusResponse) {
			st.Attempt = &pawlv1.Attempt{Id: "a", Phase: "staged", Staging: "applying", Image: "sha256:3"}
		}), lost, "fell back"},
		"on trial": {trial(), state("boot-2", "B", "A", ""), pending, "boot boot-2: 2 in slot B, on trial"},
		"a check runs": {trial(), state("boot-2", "B", "A", "", func(st *pawlv1.StatusResponse) {
			st.Checks = &pawlv1.Checks{State: "running", Running: "net"}
		}), pending, `check "net" runs`},
		"a check failed": {trial(), state("boot-2", "B", "A", "", func(st *pawlv1.StatusResponse) {
			st.Checks = &pawlv1.Checks{State: "failed", Reason: "no net"}
		}), pending, "is given up: no net"},
		"confirmed": {trial(), state("boot-2", "B", "B", "", attempt("a", "confirmed", "")), done,
			"2 in slot B, confirmed"},
		"confirmed, META destroyed": {trial(), state("boot-2", "B", "B", ""), done, "confirmed"},
		"fell back": {trial(), state("boot-3", "A", "A", "", attempt("a", "fell back", "no net")),
			lost, "fell back: 1 in slot A runs, not 2 in slot B; reason: no net"},
		"fell back, META destroyed": {trial(), state("boot-3", "A", "A", ""), lost, "no record of the attempt"},
		"fell back, another's record": {trial(), state("boot-3", "A", "A", "", attempt("b", "fell back", "no net")),
			lost, "no record of the attempt"},
		"fell back to the same image": {trial(), state("boot-3", "A", "A", "", same,
			attempt("a", "fell back", "no net")), lost, "reason: no net"},
		"another's image in the slot": {trial(), state("boot-3", "B", "B", "",
			func(st *pawlv1.StatusResponse) { st.Slots[1].Image, st.Slots[1].Version = "sha256:3", "3" }), lost,
			"3 in slot B runs, not 2 in slot B"},
		"a boot past the loader":   {trial(), state("boot-2", "A", "A", "B"), pending, "slot B is still armed"},
		"no slot known":            {trial(), state("boot-2", "", "A", ""), pending, "not known yet"},
		"a trial given up by hand": {rollback, state("boot-2", "A", "A", ""), done, "1 in slot A"},
		"a reboot into something else": {rollback, state("boot-2", "B", "B", ""), lost,
			"2 in slot B runs, expected was 1 in slot A"},
		"a reboot without knowledge": {&pawlv1.Expected{BootId: "boot-1"}, state("boot-2", "B", "B", ""), done,
			"2 in slot B"},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(test.expected, test.state)
			require.Equal(t, test.verdict, v.verdict, v.text)
			require.Contains(t, v.text, test.text)
		})
	}
}

func TestWaitTellsEachThingOnce(t *testing.T) {
	f := &fake{states: []*pawlv1.StatusResponse{
		state("boot-1", "A", "A", "B"), nil, nil,
		state("boot-2", "B", "A", ""), state("boot-2", "B", "A", ""),
		state("boot-2", "B", "B", ""),
	}}
	var seen []string
	st, err := f.client(t).Wait(t.Context(), trial(), func(s Change) { seen = append(seen, s.Text) })
	require.NoError(t, err)
	require.Equal(t, "boot-2", st.BootId)
	require.Equal(t, []string{
		"the node has not restarted yet", "the node does not answer while it restarts",
		"boot boot-2: 2 in slot B, on trial", "boot boot-2: 2 in slot B, confirmed",
	}, seen)
}

func TestWaitEndsWithTheReasonOfAFallback(t *testing.T) {
	f := &fake{states: []*pawlv1.StatusResponse{nil, state("boot-3", "A", "A", "",
		attempt("a", "fell back", "no net"))}}
	c := f.client(t)
	st, err := c.Wait(t.Context(), trial(), nil)
	require.Equal(t, FellBack, ErrorKind(err))
	require.ErrorContains(t, err, c.Node+": fell back")
	require.Equal(t, "boot-3", st.BootId)
}

func TestWaitSaysWhatItSawLast(t *testing.T) {
	f := &fake{states: []*pawlv1.StatusResponse{state("boot-2", "B", "A", "")}}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := f.client(t).Wait(ctx, trial(), nil)
	require.Equal(t, Timeout, ErrorKind(err))
	require.ErrorContains(t, err, "not there in time; last: boot boot-2: 2 in slot B, on trial")

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = f.client(t).Wait(ctx, trial(), nil)
	require.Equal(t, "cancelled", ErrorKind(err))
}

func TestANodeThatStartsIsWaitedFor(t *testing.T) {
	up := state("boot-2", "B", "B", "")
	f := &fake{states: []*pawlv1.StatusResponse{up}, starts: 1}
	var saw []string
	_, err := f.client(t).Wait(t.Context(), trial(), func(s Change) { saw = append(saw, s.Text) })
	require.NoError(t, err)
	require.Equal(t, []string{"the node is starting", "boot boot-2: 2 in slot B, confirmed"}, saw)

	f.starts = 1
	var why error
	st, err := f.client(t).AwaitAnswer(t.Context(), func(err error) { why = err })
	require.NoError(t, err)
	require.Equal(t, "boot-2", st.BootId)
	require.Equal(t, Starting, ErrorKind(why))
}

// A restart takes the node away, not its name.
func TestANameThatNobodyKnowsIsNotWaitedFor(t *testing.T) {
	unknown := &net.DNSError{Err: "no such host", Name: "node1", IsNotFound: true}
	transport := roundTripper(func(*http.Request) (*http.Response, error) { return nil, unknown })
	c := &Client{Node: "node1", rpc: pawlv1.NewNodeClient(&http.Client{Transport: transport}, "http://node1")}
	_, err := c.AwaitAnswer(t.Context(), func(error) { t.Error("it is waited for") })
	require.Equal(t, Unreachable, ErrorKind(err))
	require.ErrorContains(t, err, "node1: no such host")
}

// A look that is given up before the node has answered is no answer.
func TestALookThatTakesTooLongIsNoAnswer(t *testing.T) {
	transport := roundTripper(func(*http.Request) (*http.Response, error) { return nil, context.Canceled })
	c := &Client{Node: "node1", rpc: pawlv1.NewNodeClient(&http.Client{Transport: transport}, "http://node1")}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var saw []string
	_, err := c.Wait(ctx, trial(), func(s Change) { saw = append(saw, s.Text) })
	require.Equal(t, Timeout, ErrorKind(err))
	require.Equal(t, []string{"the node does not answer while it restarts"}, saw)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }
