package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func TestChainStage(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	two := l.push(software{version: "2.0.0"})
	code, out, errs := l.order("upgrade", "--image", two, "--stage", "--preserve")
	require.Zero(t, code, errs)
	require.Contains(t, out, "node1: staged: the next restart goes into the trial of 2.0.0 in slot B\n")
	require.Len(t, l.history(), 1, "it does not restart by itself")
	_, out, _ = l.order("status")
	require.Regexp(t, `staging +staged`, out)

	code, out, errs = l.order("reboot", "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "2.0.0 in slot B, confirmed")
	require.Equal(t, []string{"1.0.0 in A", "1.0.0 in A", "2.0.0 in B on trial"}, l.history())
	require.False(t, l.status().Attempt.Wiped, "preserve was remembered")
	_, out, _ = l.order("status")
	require.Regexp(t, `staging +done`, out)
}

func TestChainStageAndRebootNow(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	code, out, errs := l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--stage", "--reboot",
		"--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "2.0.0 in slot B, confirmed")
	require.Len(t, l.history(), 3)

	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "2.1.0", dies: true}), "--stage", "--reboot",
		"--wait")
	require.Equal(t, exitFellBack, code)
	require.Contains(t, errs, attempt.NotKnown)
	require.Len(t, l.history(), 6, "old, trial, old: and no more")
	_, out, _ = l.order("status")
	require.Regexp(t, `staging +failed: `+attempt.NotKnown, out)
}

func TestChainStageThatCannotBeApplied(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	code, _, errs := l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--stage")
	require.Zero(t, code, errs)
	l.stop()
	m, err := upgrade.Open(l.disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: l.vars, Cmdline: new(string),
		BootID: "x", Version: "1.0.0"})
	require.NoError(t, err)
	require.NoError(t, m.Boot.Remove(bootloader.B.File(bootloader.UKIFile)))
	require.NoError(t, m.Close())
	for digest, s := range l.os {
		s.problem = "slot B is partial"
		l.os[digest] = s
	}
	l.on()
	_, out, _ := l.order("status")
	require.Regexp(t, `staging +failed: verify: slot B is partial`, out)
	require.Regexp(t, `problem +.*slot B is partial`, out)
	for digest, s := range l.os {
		s.problem = ""
		l.os[digest] = s
	}
	code, _, errs = l.order("reboot", "--wait")
	require.Zero(t, code, errs)
	require.Equal(t, []string{"1.0.0 in A", "1.0.0 in A", "1.0.0 in A"}, l.history(), "no boot comes back to it")
}

func TestChainStageCancel(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	code, _, errs := l.order("stage", "cancel")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "no upgrade is staged")
	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--stage")
	require.Zero(t, code, errs)
	code, out, errs := l.order("stage", "cancel")
	require.Zero(t, code, errs)
	require.Contains(t, out, "abandoned: cancelled by hand")
	code, _, errs = l.order("reboot", "--wait")
	require.Zero(t, code, errs)
	require.Equal(t, []string{"1.0.0 in A", "1.0.0 in A"}, l.history())
	for _, wrong := range [][]string{{"stage"}, {"stage", "now"}, {"upgrade", "--image", "x", "--stage", "--wait"},
		{"upgrade", "--image", "x", "--debug"}} {
		code, _, _ = l.order(wrong...)
		require.Equal(t, exitUsage, code, wrong)
	}
}

// cluster is what a node's hooks change.
type cluster struct {
	mu       sync.Mutex
	cordoned bool
	done     []string
	fails    node.Phase
}

func (c *cluster) hooks() (hooks []node.Hook) {
	for _, p := range []node.Phase{node.PhaseCordon, node.PhaseDrain, node.PhaseUncordon} {
		hooks = append(hooks, node.Hook{Phase: p, Name: "cluster", Run: func(context.Context, node.Occasion) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.done = append(c.done, string(p))
			switch {
			case p == c.fails:
				return errors.New("a budget does not allow it")
			case p == node.PhaseCordon && c.cordoned:
				return node.ErrAlready
			case p != node.PhaseDrain:
				c.cordoned = p == node.PhaseCordon
			}
			return nil
		}})
	}
	return hooks
}

func (c *cluster) story() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.done, " ")
}

func TestChainHooks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		arrange func(*cluster)
		two     software
		code    int
		story   string
		boots   int
	}{
		"upgraded": {func(*cluster) {}, software{}, exitOK, "cordon drain uncordon", 2},
		"fell back: the old version uncordons": {func(*cluster) {}, software{dies: true}, exitFellBack,
			"cordon drain uncordon", 3},
		"a drain that fails": {func(c *cluster) { c.fails = node.PhaseDrain }, software{}, exitError,
			"cordon drain uncordon", 1},
		"cordoned by somebody else": {func(c *cluster) { c.cordoned = true }, software{}, exitOK, "cordon drain", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &cluster{}
			test.arrange(c)
			was := c.cordoned
			l := newLab(t, "127.0.0.1:0", c.hooks()...)
			test.two.version, test.two.hooks = "2.0.0", c.hooks()
			code, out, errs := l.order("upgrade", "--image", l.push(test.two), "--wait")
			require.Equal(t, test.code, code, errs)
			require.Contains(t, out, "node1: cordon: cluster\n")
			require.Eventually(t, func() bool { return c.story() == test.story }, 5*time.Second, 10*time.Millisecond,
				c.story())
			require.Len(t, l.history(), test.boots)
			require.Equal(t, was, c.cordoned)
			if test.code == exitError {
				require.Contains(t, errs, `drain: hook "cluster": a budget does not allow it`)
				require.Equal(t, "1.0.0 in A", l.next())
				require.Contains(t, l.status().Attempt.Reason, "a budget does not allow it")
			}
			require.Eventually(t, func() bool { return len(l.status().Attempt.Marks) == 0 }, 5*time.Second,
				10*time.Millisecond)
			_, out, _ = l.order("events")
			require.Contains(t, out, ": begins\n")
		})
	}
}

// TestChainAClientThatIsKilledAndStartedAgain: the same command again follows the upgrade, wherever it is by then.
func TestChainAClientThatIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	held, go1, go2 := make(chan struct{}), make(chan struct{}), make(chan struct{})
	l := newLab(t, "127.0.0.1:0", node.Hook{Phase: node.PhaseDrain, Name: "slow",
		Run: func(context.Context, node.Occasion) error {
			close(held)
			<-go1
			return nil
		}})
	two := l.push(software{version: "2.0.0", checks: []node.Check{{Name: "slow",
		Run: func(context.Context) error { <-go2; return nil }}}})
	ctx, kill := context.WithCancel(t.Context())
	killed := make(chan int, 1)
	args := []string{"upgrade", "--image", two, "--wait", "--nodes", l.address}
	go func() { killed <- run(ctx, args, new(strings.Builder), new(strings.Builder)) }()
	<-held
	kill()
	require.NotZero(t, <-killed)

	type result struct {
		code      int
		out, errs string
	}
	ended := make(chan result, 2)
	again := func() {
		code, out, errs := l.order("upgrade", "--image", two, "--wait")
		ended <- result{code, out, errs}
	}
	go again() // while it drains
	time.AfterFunc(200*time.Millisecond, func() { close(go1) })
	require.Eventually(t, func() bool { return len(l.history()) == 2 }, 10*time.Second, 10*time.Millisecond)
	go again() // while the trial runs, or just before the node answers
	time.AfterFunc(time.Second, func() { close(go2) })
	for range 2 {
		r := <-ended
		require.Zero(t, r.code, r.errs)
		require.Contains(t, r.out, "2.0.0")
	}
	code, out, errs := l.order("upgrade", "--image", two, "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "already: 2.0.0 runs in slot B, confirmed")
	require.Len(t, l.history(), 2, "it was one upgrade")
}

func TestChainDebugAndReadingTheKernelsLog(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	code, out, errs := l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--wait", "--debug")
	require.Zero(t, code, errs)
	require.Contains(t, out, "2.0.0 in slot B, confirmed")
	code, out, errs = l.order("dmesg")
	if code == exitOK { // this machine's own, where it may be read
		require.Regexp(t, `node1: \[ *\d+\.\d{6}\] `, out)
	} else {
		require.Contains(t, errs, "read the kernel's log")
	}
}
