package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// fake is a node with given answers.
type fake struct {
	pawlv1.UnimplementedNodeHandler
	mu      sync.Mutex
	status  *pawlv1.StatusResponse
	after   *pawlv1.StatusResponse // once it was upgraded
	doctor  *pawlv1.DoctorResponse
	refuses error
	tells   bool // its state, also where it refuses
	reboots int
	service string
	starts  int  // how many Status find it starting
	hangs   bool // in the middle of an upgrade
	asked   []*pawlv1.UpgradeRequest
}

func (f *fake) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	return &pawlv1.VersionResponse{Pawl: "v9", Api: 1, Platform: "linux/amd64", BootId: "boot-1", Service: f.service},
		nil
}

func (f *fake) Status(context.Context, *pawlv1.StatusRequest) (*pawlv1.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.starts--; f.starts >= 0 {
		return nil, kind(connect.CodeUnavailable, "starting", "the node is starting; ask again")
	}
	if f.tells {
		return f.status, nil
	}
	return f.status, f.refuses
}

func (f *fake) Doctor(context.Context, *pawlv1.DoctorRequest) (*pawlv1.DoctorResponse, error) {
	return f.doctor, f.refuses
}

func (f *fake) plan() *pawlv1.Plan {
	return &pawlv1.Plan{
		Kind: "upgrade", From: "A", To: "B", OldVersion: "1", Version: "2", Image: "sha256:2222222222222222",
		Lost: "0", Bytes: 3 << 20, Room: 500 << 20, Steps: []string{"resolve", "write"},
		Warnings: []string{"a warning"},
	}
}

func (f *fake) Plan(_ context.Context, r *pawlv1.PlanRequest) (*pawlv1.PlanResponse, error) {
	return &pawlv1.PlanResponse{Plan: f.plan()}, f.refuses
}

func (f *fake) Events(ctx context.Context, _ *pawlv1.EventsRequest, _ *connect.ServerStream[pawlv1.Event]) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Dmesg(ctx context.Context, _ *pawlv1.DmesgRequest, _ *connect.ServerStream[pawlv1.KernelMessage]) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Upgrade(ctx context.Context, r *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	if f.refuses != nil {
		if f.after != nil {
			f.status = f.after
		}
		return f.refuses
	}
	if f.hangs {
		_ = to.Send(&pawlv1.Event{Event: &pawlv1.Event_Plan{Plan: f.plan()}})
		<-ctx.Done()
		return kind(connect.CodeDeadlineExceeded, "timeout", ctx.Err().Error())
	}
	if f.after != nil {
		f.status = f.after
	}
	return errors.Join(
		to.Send(&pawlv1.Event{Event: &pawlv1.Event_Plan{Plan: f.plan()}}),
		to.Send(&pawlv1.Event{Event: &pawlv1.Event_Progress{Progress: &pawlv1.Progress{Step: "write"}}}),
		to.Send(&pawlv1.Event{Event: &pawlv1.Event_Progress{Progress: &pawlv1.Progress{Step: "write", Done: true,
			Elapsed: durationpb.New(3e9)}}}),
		to.Send(&pawlv1.Event{Event: &pawlv1.Event_Armed{Armed: &pawlv1.Armed{Rebooting: r.Reboot,
			Expected: &pawlv1.Expected{
				BootId: "boot-1", Version: "2", Image: "sha256:2222222222222222", Slot: "B", Trial: true,
			}}}}),
	)
}

func (f *fake) Reboot(context.Context, *pawlv1.RebootRequest) (*pawlv1.RebootResponse, error) {
	f.reboots++
	return &pawlv1.RebootResponse{Expected: &pawlv1.Expected{BootId: "boot-0"}}, f.refuses
}

func (f *fake) address(t *testing.T) string { return served(t, f) }

func served(t *testing.T, node pawlv1.NodeHandler) string {
	mux := http.NewServeMux()
	mux.Handle(pawlv1.NewNodeHandler(node))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func status(boot, active, def string) *pawlv1.StatusResponse {
	return &pawlv1.StatusResponse{
		Version: map[string]string{"A": "1", "B": "2"}[active], BootId: boot, Loader: "systemd-boot 252",
		Active: active, Default: def, Trial: active != def,
		Slots: []*pawlv1.Slot{
			{Name: "A", Content: "complete", Version: "1", Image: "sha256:1111111111111111", Reference: "reg/os:1"},
			{Name: "B", Content: "complete", Version: "2", Image: "sha256:2222222222222222"},
		},
	}
}

func kind(code connect.Code, kind, text string) error {
	err := connect.NewError(code, errors.New(text))
	detail, _ := connect.NewErrorDetail(&pawlv1.Error{Kind: kind})
	err.AddDetail(detail)
	return err
}

// pawl runs the command and replaces the nodes' addresses in what it prints.
func pawl(t *testing.T, nodes []string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(t.Context(), append(args, "--nodes", strings.Join(nodes, ",")), &o, &e)
	out, errs = o.String(), e.String()
	for i, node := range nodes {
		name := "node" + string(rune('1'+i))
		out, errs = strings.ReplaceAll(out, node, name), strings.ReplaceAll(errs, node, name)
	}
	return code, out, errs
}

const nobody = "127.0.0.1:1"

func TestStatus(t *testing.T) {
	st := status("boot-1", "A", "A")
	st.Attempt = &pawlv1.Attempt{Kind: "upgrade", From: "A", To: "B", OldVersion: "1", Version: "2",
		Result: "fell back", Reason: "no net"}
	st.KnownBad = []*pawlv1.Bad{{Version: "2", Image: "sha256:2222222222222222", Reason: "no net"}}
	st.Operation = &pawlv1.Operation{Name: "upgrade to os:3", Running: true, Progress: &pawlv1.Progress{Step: "write",
		Bytes: 1 << 20, Total: 4 << 20}}
	st.Warnings = []string{"the clock is wrong"}
	f := &fake{status: st}
	trial := &fake{status: status("boot-2", "B", "A")}
	code, out, errs := pawl(t, []string{f.address(t), trial.address(t)}, "status")
	require.Zero(t, code, errs)
	require.Equal(t, `node1: 1 in slot A, confirmed (boot boot-1)
  slot A     complete 1 sha256:111111111111 reg/os:1  active, default
  slot B     complete 2 sha256:222222222222
  loader     systemd-boot 252
  attempt    upgrade from 1 (slot A) to 2 (slot B): fell back: no net
  operation  upgrade to os:3: write, 1 MiB of 4 MiB
  bad        2 sha256:222222222222: no net
  warning    the clock is wrong
node2: 2 in slot B, on trial (boot boot-2)
  slot A  complete 1 sha256:111111111111 reg/os:1  default
  slot B  complete 2 sha256:222222222222           active
  loader  systemd-boot 252
`, out)
}

func TestStatusOfNodesThatDoNotAnswerDoesNotHideTheOthers(t *testing.T) {
	f := &fake{status: status("boot-1", "A", "A")}
	code, out, errs := pawl(t, []string{nobody, f.address(t)}, "status")
	require.Equal(t, exitUnreachable, code)
	require.Contains(t, out, "node2: 1 in slot A")
	require.Contains(t, errs, "pawl: node1: the node does not answer")
	require.NotContains(t, errs, "node2")
}

func TestJSONIsOneObjectALine(t *testing.T) {
	f := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B")}
	nodes := []string{f.address(t), nobody}
	for _, args := range [][]string{
		{"status"}, {"version"}, {"plan", "--image", "os:2"}, {"upgrade", "--image", "os:2", "--wait", "--timeout",
			"2s"}, {"reboot", "--wait"},
	} {
		code, out, _ := pawl(t, nodes, append(args, "--output", "json")...)
		require.Equal(t, exitUnreachable, code, args)
		var keys []string
		for line := range strings.Lines(out) {
			var object map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(line), &object), line)
			require.Len(t, object, 2)
			for key := range object {
				if key != "node" {
					keys = append(keys, key)
				}
			}
		}
		require.Equal(t, "error", keys[len(keys)-1], "%v: %s", args, out)
		require.Contains(t, out, `"kind":"unreachable"`)
		if args[0] == "upgrade" {
			require.Equal(t, []string{"event", "event", "event", "event", "wait", "status", "wait", "error"}, keys)
		}
	}
}

func TestPlan(t *testing.T) {
	code, out, _ := pawl(t, []string{(&fake{}).address(t)}, "plan", "--image", "os:2")
	require.Zero(t, code)
	require.Equal(t, `node1: upgrade from 1 (slot A) to 2 (slot B)
  image: sha256:2222222222222222 (no reference)
  writes: 3 MiB of the 500 MiB that slot B can hold
  lost: version 0 in slot B is gone once this begins
  wipes: EPHEMERAL, in the trial boot (--preserve keeps it)
  steps: resolve, write
  warning: a warning
`, out)
}

func TestUpgradeAndWait(t *testing.T) {
	f := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B")}
	code, out, errs := pawl(t, []string{f.address(t)}, "upgrade", "--image", "os:2", "--wait", "--preserve", "--tries",
		"2")
	require.Zero(t, code, errs)
	require.Equal(t, `node1: upgrade from 1 (slot A) to 2 (slot B), image sha256:222222222222
node1: 0, which slot B holds, is gone from now on
node1: warning: a warning
node1: write (3.0s)
node1: armed: the next boot is the trial of 2 in slot B
node1: restarting
node1: boot boot-2: 2 in slot B, confirmed
`, out)
	require.True(t, f.asked[0].Reboot, "restarting is what an upgrade does unless told otherwise")
	require.True(t, f.asked[0].Preserve)
	require.EqualValues(t, 2, f.asked[0].Tries)
	require.False(t, f.asked[0].Attached)
}

func TestExitCodes(t *testing.T) {
	fell := status("boot-3", "A", "A")
	fell.Attempt = &pawlv1.Attempt{Image: "sha256:2222222222222222", Result: "fell back", Reason: "no net"}
	for name, test := range map[string]struct {
		node *fake
		args []string
		code int
		text string
	}{
		"confirmed": {&fake{after: status("boot-2", "B", "B")}, []string{"upgrade", "--image", "os:2",
			"--wait"}, exitOK, ""},
		"not waited for": {&fake{}, []string{"upgrade", "--image", "os:2"}, exitOK, ""},
		"fell back": {&fake{after: fell}, []string{"upgrade", "--image", "os:2", "--wait"}, exitFellBack,
			"node1: fell back: 1 in slot A runs, not 2 in slot B; reason: no net"},
		"never confirmed": {&fake{after: status("boot-2", "B", "A")}, []string{"upgrade", "--image", "os:2", "--wait",
			"--timeout", "2s"}, exitTimeout, "not there in time; last: boot boot-2: 2 in slot B, on trial"},
		"refused": {&fake{refuses: kind(connect.CodeFailedPrecondition, "known-bad", "it failed before")},
			[]string{"upgrade", "--image", "os:2"}, exitError, "node1: it failed before"},
		"too slow a hook": {&fake{refuses: kind(connect.CodeDeadlineExceeded, "timeout",
			"drain: evict pod web-1: context deadline exceeded")}, []string{"upgrade", "--image", "os:2"}, exitError,
			"node1: drain: evict pod web-1"},
		"no node": {nil, []string{"upgrade", "--image", "os:2"}, exitUnreachable,
			"node1: the node does not answer"},
		"no node ever": {nil, []string{"upgrade", "--image", "os:2", "--wait", "--timeout", "300ms"},
			exitUnreachable, "(waited for 300ms, as --timeout says)"},
		"starting": {&fake{refuses: kind(connect.CodeUnavailable, "starting",
			"the node is starting; ask again")}, []string{"status"}, exitUnreachable,
			"node1: the node is starting; ask again"},
		"starting for ever": {&fake{refuses: kind(connect.CodeUnavailable, "starting",
			"the node is starting; ask again")}, []string{"upgrade", "--image", "os:2", "--wait", "--timeout", "300ms"},
			exitUnreachable, "node1: the node is starting; ask again"},
		"no verb": {nil, []string{"fly"}, exitUsage, `unknown command "fly"`},
		"an unknown flag": {nil, []string{"status", "--fast"}, exitUsage,
			"unknown flag: --fast (see `pawl status --help`)"},
		"an argument":      {nil, []string{"status", "now"}, exitUsage, `status takes no argument "now"`},
		"no image":         {nil, []string{"upgrade"}, exitUsage, "which --image?"},
		"no image to plan": {nil, []string{"plan"}, exitUsage, "which --image?"},
		"wait for nothing": {nil, []string{"upgrade", "--image", "os:2", "--wait", "--reboot=false"}, exitUsage,
			"--wait needs the restart"},
		"no such output": {nil, []string{"status", "-o", "xml"}, exitUsage, "want text, json or yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			node := nobody
			if test.node != nil {
				if test.node.status == nil {
					test.node.status = status("boot-1", "A", "A")
				}
				node = test.node.address(t)
			}
			code, _, errs := pawl(t, []string{node}, test.args...)
			require.Equal(t, test.code, code, errs)
			if test.text != "" {
				require.Contains(t, errs, "pawl: ")
				require.Contains(t, errs, test.text)
			}
		})
	}
	code, _, errs := pawl(t, []string{"ftp://x"}, "status")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "is no address")
}

func TestAnUpgradeStopsAtTheFirstNodeThatFails(t *testing.T) {
	good := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B")}
	bad := &fake{refuses: kind(connect.CodeFailedPrecondition, "trial", "it is on trial")}
	last := &fake{status: status("boot-1", "A", "A")}
	code, out, errs := pawl(t, []string{good.address(t), bad.address(t), last.address(t)}, "upgrade", "--image", "os:2",
		"--wait")
	require.Equal(t, exitError, code)
	require.Contains(t, out, "node1: boot boot-2: 2 in slot B, confirmed")
	require.Contains(t, errs, "pawl: node2: it is on trial\npawl: not touched: node3\n")
	require.Empty(t, last.asked)
}

func TestVersion(t *testing.T) {
	code, out, _ := pawl(t, []string{(&fake{}).address(t)}, "version")
	require.Zero(t, code)
	require.Regexp(t, `^pawl: .*, API 1, linux/.*\nnode1: v9, API 1, linux/amd64 \(boot boot-1\)\n$`, out)
	code, _, _ = pawl(t, []string{nobody}, "version", "--client")
	require.Zero(t, code)
}

func TestTheBarFitsItsTerminal(t *testing.T) {
	p := &pawlv1.Progress{Step: "write", File: "os.efi", Bytes: 50 << 20, Total: 200 << 20}
	require.Equal(t, "n: write os.efi [#####...............]  25% 50 MiB of 200 MiB", draw("n", p, 62))
	for width := range 120 {
		require.Less(t, len(draw("node.example.com", p, width)), max(width, 1), "width %d", width)
	}
	p.Whole = &pawlv1.Amount{Bytes: 20 << 20, Total: 80 << 20, Rate: 5 << 20, Left: durationpb.New(12e9)}
	require.Equal(t, "n: write os.efi [#####...............]  25% 50 MiB of 200 MiB, 5 MiB/s, 12s left",
		draw("n", p, 81))
	for width := range 120 {
		require.Less(t, len(draw("node.example.com", p, width)), max(width, 1), "width %d", width)
	}
	p.Bytes = 300 << 20 // more than was said
	require.NotContains(t, draw("n", p, 80), ".]")
	require.Equal(t, "n: verify", draw("n", &pawlv1.Progress{Step: "verify"}, 80))

	var out bytes.Buffer
	b := &board{out: terminal.To(&out), width: 80}
	end := b.begin("n", false)
	b.progress("n", &pawlv1.Progress{Step: "write"})
	b.progress("n", &pawlv1.Progress{Step: "write", Done: true})
	end()
	require.Equal(t, "n: write\r\x1b[Kn: write\n", out.String())
}

func TestForceOrdersWhatFellBackInThisBoot(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"forced": {[]string{"--force"}, exitOK},
		"not":    {nil, exitFellBack},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B"), starts: 1}
			f.status.Attempt = &pawlv1.Attempt{Reference: "os:2", Result: "fell back", Reason: "no net",
				BootEnded: "boot-1"}
			code, _, errs := pawl(t, []string{f.address(t)}, append([]string{"upgrade", "--image", "os:2", "--wait"},
				test.args...)...)
			require.Equal(t, test.code, code, errs)
			require.Equal(t, test.code == exitOK, len(f.asked) == 1)
		})
	}
}

func TestACommandThatIsInterruptedDoesNotKnowHowItEnds(t *testing.T) {
	for name, test := range map[string]struct {
		node *fake
		args []string
		code int
		says string
	}{
		"while it follows":        {&fake{hangs: true}, nil, exitTimeout, "no longer followed; the operation goes on"},
		"while it waits":          {&fake{}, []string{"--wait"}, exitTimeout, "no longer waited for"},
		"before it could order":   {&fake{starts: 99}, []string{"--wait"}, exitError, ""},
		"with what it is tied to": {&fake{hangs: true}, []string{"--attached"}, exitError, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.node.status = status("boot-1", "A", "A")
			ctx, interrupt := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, interrupt)
			var out, errs bytes.Buffer
			code := run(ctx, append([]string{"upgrade", "--image", "os:2", "--nodes", test.node.address(t)},
				test.args...), &out, &errs)
			require.Equal(t, test.code, code, errs.String())
			require.Contains(t, errs.String(), test.says)
		})
	}
}

// The node knows the deadline of its caller too, and may be the first to see that it is over.
func TestATimeoutIsThatOfTheCommandWhoeverSeesItFirst(t *testing.T) {
	for range 30 {
		f := &fake{status: status("boot-1", "A", "A"), hangs: true}
		code, _, errs := pawl(t, []string{f.address(t)}, "upgrade", "--image", "os:2", "--timeout", "20ms")
		require.Equal(t, exitTimeout, code, errs)
	}
}

func TestWhatIsFollowedEndsWithItsTime(t *testing.T) {
	for _, verb := range []string{"events", "dmesg"} {
		code, _, errs := pawl(t, []string{(&fake{}).address(t)}, verb, "--follow", "--timeout", "200ms")
		require.Zero(t, code, "%s: %s", verb, errs)
		code, _, _ = pawl(t, []string{(&fake{}).address(t)}, verb, "--timeout", "200ms")
		require.NotZero(t, code, "%s that is to end by itself", verb)
	}
}
