package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// watched is an output that a test can look at while it is written.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// saidUntil runs pawl until it has said something, then interrupts it, and returns all that it said.
func saidUntil(t *testing.T, what string, args ...string) string {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs watched
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, &out, &errs) }()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), what) || len(ended) > 0 },
		20*time.Second, 10*time.Millisecond)
	interrupt()
	require.Equal(t, exitTimeout, <-ended, "%s%s", &out, &errs)
	require.Contains(t, out.String(), what)
	return out.String()
}

// TestChainACommandThatFindsTheNodeRestarting: an upgrade with --wait that is ordered while the node is down waits for
// it, and then either follows what the restart was for, or begins.
func TestChainACommandThatFindsTheNodeRestarting(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		armed   bool // the restart is that of the same upgrade
		two     software
		code    int
		out     string
		history []string
	}{
		"into the trial": {true, software{}, exitOK, "confirmed", []string{"1.0.0 in A", "2.0.0 in B on trial"}},
		"back from a trial": {true, software{dies: true}, exitFellBack, "",
			[]string{"1.0.0 in A", "2.0.0 in B on trial", "1.0.0 in A"}},
		"for another reason": {false, software{}, exitOK, "2.0.0 in slot B, confirmed",
			[]string{"1.0.0 in A", "1.0.0 in A", "2.0.0 in B on trial"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "127.0.0.1:0")
			test.two.version = "2.0.0"
			two := l.push(test.two)
			if test.armed {
				code, _, errs := l.order("upgrade", "--image", two, "--reboot=false")
				require.Zero(t, code, errs)
			}
			l.stop()
			var out, errs watched
			code := make(chan int, 1)
			go func() {
				code <- run(t.Context(), []string{"upgrade", "--image", two, "--wait", "--nodes", l.address}, &out,
					&errs)
			}()
			require.Eventually(t, func() bool {
				return strings.Contains(out.String(), "does not answer") ||
					len(code) > 0
			}, 20*time.Second, 10*time.Millisecond)
			l.on()
			require.Equal(t, test.code, <-code, "%s%s", &out, &errs)
			require.Contains(t, out.String(), test.out)
			require.Equal(t, test.history, l.history())
		})
	}
}

// The node is asked just before it restarts for the very upgrade, and takes the order just after that.
func TestAnOrderThatMeetsItsOwnRestartFollowsIt(t *testing.T) {
	after := status("boot-2", "B", "A")
	after.Attempt = &pawlv1.Attempt{Reference: "os:2", Image: "sha256:2222222222222222", Version: "2", To: "B"}
	f := &fake{status: status("boot-1", "A", "A"), after: after, tells: true,
		refuses: kind(connect.CodeAborted, "busy", "reboot has been running: one operation at a time")}
	said := saidUntil(t, ", on trial", "upgrade", "--image", "os:2", "--wait", "--nodes", f.address(t))
	require.Contains(t, said, ": already underway: ", "it goes on to wait for the trial")
	require.Len(t, f.asked, 1)

	f = &fake{status: status("boot-1", "A", "A"), tells: true, refuses: f.refuses}
	code, _, errs := pawl(t, []string{f.address(t)}, "upgrade", "--image", "os:2", "--wait")
	require.Equal(t, exitError, code, "what is busy with something else says so")
	require.Contains(t, errs, "one operation at a time")
}
