package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// evil clears a terminal, sets its title with escapes of both kinds, turns the writing round, and makes a line that
// looks like another node's.
const evil = "v\x1b[2J\x1b]0;owned\a\u009b2J\u202e\u2066\u2028\u0085\x7f\r\t\v\x00\nnode9: confirmed"

// hostile is a node whose every text is evil, and whose numbers are not what they count.
type hostile struct {
	pawlv1.UnimplementedNodeHandler
	refuses, trial bool
	empty          bool // leaves out whatever can be left out
}

// fill puts value into every text of a message, and a number below any that makes sense into every number.
func fill[M proto.Message](h *hostile, m M) M {
	if !h.empty {
		fillMessage(m.ProtoReflect(), 3)
	}
	return m
}

func fillMessage(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil:
		case f.IsList() && f.Kind() == protoreflect.StringKind:
			m.Mutable(f).List().Append(protoreflect.ValueOfString(evil))
		case f.IsList() && depth > 0:
			fillMessage(m.Mutable(f).List().AppendMutable().Message(), depth-1)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(evil))
		case f.Kind() == protoreflect.MessageKind && depth > 0:
			fillMessage(m.Mutable(f).Message(), depth-1)
		case f.Kind() == protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(-1<<62))
		}
	}
}

func (h *hostile) err() error {
	if h.refuses {
		return kind(connect.CodeFailedPrecondition, evil, evil)
	}
	return nil
}

func (h *hostile) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	return fill(h, &pawlv1.VersionResponse{}), nil
}

func (h *hostile) Status(context.Context, *pawlv1.StatusRequest) (*pawlv1.StatusResponse, error) {
	st := fill(h, &pawlv1.StatusResponse{})
	if !h.empty {
		st.Trial, st.Checks.State, st.Operation.Running = h.trial, "running", h.trial
	}
	return st, h.err()
}

func (h *hostile) Doctor(context.Context, *pawlv1.DoctorRequest) (*pawlv1.DoctorResponse, error) {
	d := fill(h, &pawlv1.DoctorResponse{})
	for _, f := range d.Findings {
		f.Severity = "fine"
	}
	return d, h.err()
}

func (h *hostile) Plan(context.Context, *pawlv1.PlanRequest) (*pawlv1.PlanResponse, error) {
	return fill(h, &pawlv1.PlanResponse{}), h.err()
}

func (h *hostile) CancelStage(context.Context, *pawlv1.CancelStageRequest) (*pawlv1.CancelStageResponse, error) {
	return fill(h, &pawlv1.CancelStageResponse{}), h.err()
}

func (h *hostile) Reboot(context.Context, *pawlv1.RebootRequest) (*pawlv1.RebootResponse, error) {
	return fill(h, &pawlv1.RebootResponse{}), h.err()
}

func (h *hostile) events() []*pawlv1.Event {
	all := []*pawlv1.Event{
		{Event: &pawlv1.Event_Plan{Plan: fill(h, &pawlv1.Plan{})}},
		{Event: &pawlv1.Event_Progress{Progress: fill(h, &pawlv1.Progress{})}},
		{Event: &pawlv1.Event_Progress{Progress: &pawlv1.Progress{Step: evil, Done: true}}},
		{Event: &pawlv1.Event_Progress{Progress: &pawlv1.Progress{Step: evil, Done: true, Error: evil}}},
		{Event: &pawlv1.Event_Task{Task: &pawlv1.Task{Phase: evil, Name: evil, Done: true, Error: evil}}},
		{Event: &pawlv1.Event_Task{Task: &pawlv1.Task{Phase: evil, Name: evil, Done: true}}},
		{Event: &pawlv1.Event_Sequence{Sequence: &pawlv1.Sequence{}}},
		{Event: &pawlv1.Event_Sequence{Sequence: &pawlv1.Sequence{Done: true, Error: evil, Kind: evil}}},
		{},
		{Event: &pawlv1.Event_Armed{Armed: fill(h, &pawlv1.Armed{})}},
	}
	for _, e := range all {
		fill(h, e)
	}
	return all
}

func (h *hostile) Events(_ context.Context, _ *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	for _, e := range h.events() {
		if err := to.Send(e); err != nil {
			return err
		}
	}
	return h.err()
}

func (h *hostile) Upgrade(ctx context.Context, _ *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	if h.refuses {
		return h.err()
	}
	return h.Events(ctx, nil, to)
}

func (h *hostile) Rollback(ctx context.Context, _ *pawlv1.RollbackRequest,
	to *connect.ServerStream[pawlv1.Event]) error {
	return h.Upgrade(ctx, nil, to)
}

func (h *hostile) Dmesg(_ context.Context, _ *pawlv1.DmesgRequest,
	to *connect.ServerStream[pawlv1.KernelMessage]) error {
	if err := to.Send(fill(h, &pawlv1.KernelMessage{})); err != nil {
		return err
	}
	return h.err()
}

func (h *hostile) address(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(pawlv1.NewNodeHandler(h))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// everyCommand are the command lines of all that talks to a node.
var everyCommand = [][]string{
	{"status"}, {"status", "--log"}, {"doctor"}, {"version"}, {"plan", "--image", "os:2"},
	{"upgrade", "--image", "os:2"}, {"upgrade", "--image", "os:2", "--wait", "--debug", "--timeout", "700ms"},
	{"upgrade", "--image", "os:2", "--stage"},
	{"rollback"}, {"rollback", "--wait", "--timeout", "700ms"}, {"reboot"}, {"reboot", "--wait", "--timeout", "700ms"},
	{"stage", "cancel"}, {"events"}, {"dmesg"},
}

func TestNoNodeCommandsAnOperatorsTerminal(t *testing.T) {
	for name, h := range map[string]*hostile{"answers": {}, "on trial": {trial: true}, "refuses": {refuses: true}} {
		for _, args := range everyCommand {
			for _, output := range outputs {
				t.Run(name+"/"+strings.Join(args, " ")+"/"+output, func(t *testing.T) {
					t.Parallel()
					address := h.address(t)
					_, out, errs := pawl(t, []string{address}, append(args, "--output", output)...)
					for _, text := range []string{out, errs} {
						require.True(t, utf8.ValidString(text))
						for _, r := range text {
							require.True(t, r == '\n' || unicode.IsPrint(r), "%U in %q", r, text)
						}
						for line := range strings.Lines(text) {
							require.False(t, strings.HasPrefix(line, "node9"), "a line of the node's own: %q", text)
							require.False(t, strings.HasPrefix(line, "pawl: node9"), "an error of the node's own: %q",
								text)
						}
					}
				})
			}
		}
	}
}

func TestANodeThatLeavesOutTheAnswerIsNoPanic(t *testing.T) {
	h := &hostile{empty: true}
	for _, args := range everyCommand {
		for _, output := range outputs {
			t.Run(strings.Join(args, " ")+"/"+output, func(t *testing.T) {
				t.Parallel()
				pawl(t, []string{h.address(t)}, append(args, "--output", output)...)
			})
		}
	}
}

func TestTheBarOfANodeThatCountsWrongIsNoPanic(t *testing.T) {
	for _, p := range []*pawlv1.Progress{{Bytes: -1 << 63, Total: 1}, {Bytes: 1<<63 - 1, Total: 1},
		{Bytes: 1<<63 - 1, Total: 1<<63 - 1}, {Bytes: 5, Total: -1}} {
		for width := range 100 {
			require.Less(t, len(draw("n", p, width)), max(width, 1))
		}
	}
	line := draw("n", &pawlv1.Progress{Step: evil, File: "naïve\xff", Total: 100}, 60)
	require.NotContains(t, line, "\x1b")
	require.True(t, utf8.ValidString(line))
}

// The operating system has a file that takes no byte, so this also holds for what a pipe or a full disk does.
func TestWhatCouldNotBePrintedIsNoSuccess(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	st := status("boot-1", "A", "A")
	st.Attempt = &pawlv1.Attempt{Kind: "upgrade"}
	f := &fake{status: st, after: status("boot-2", "B", "B"), doctor: &pawlv1.DoctorResponse{Severity: "fine"}}
	for _, args := range [][]string{
		{"--help"}, {}, {"help", "status"}, {"status", "--help"}, {"version", "--client"}, {"completion", "bash"},
		{"status"}, {"doctor"}, {"plan", "--image", "os:2"}, {"upgrade", "--image", "os:2"},
		{"upgrade", "--image", "os:2", "--wait"}, {"reboot"},
		{"status", "-o", "json"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var errs strings.Builder
			code := run(t.Context(), append(args, "--nodes", f.address(t)), full, &errs)
			require.NotZero(t, code, errs.String())
		})
	}
	for _, args := range [][]string{{"events", "-f"}, {"dmesg", "-f"}, {"rollback"}, {"stage", "cancel"}, {"events"},
		{"dmesg"}} {
		var errs strings.Builder
		code := run(t.Context(), append(args, "--nodes", (&hostile{}).address(t)), full, &errs)
		require.Equal(t, exitError, code, "%s: %s", args, errs.String())
	}
}

func TestEventsSayTheirDayAndZone(t *testing.T) {
	h := &hostile{empty: true}
	_, out, errs := pawl(t, []string{h.address(t)}, "events")
	require.Empty(t, errs)
	require.Contains(t, out, "1970-01-01T00:00:00Z")
}
