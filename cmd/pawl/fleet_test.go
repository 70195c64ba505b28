package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// labs are several computers that share the first one's registry.
type labs []*lab

func newLabs(t *testing.T, n int, hooks func(i int) []node.Hook) (all labs) {
	for i := range n {
		all = append(all, newLab(t, "127.0.0.1:0", hooks(i)...))
	}
	return all
}

// push has the first computer's registry serve a version, which is software of its own on each.
func (all labs) push(version string, on func(i int) software) (reference string) {
	s := on(0)
	s.version = version
	reference = all[0].push(s)
	for digest, s := range all[0].os {
		for i, l := range all {
			if s.version == version {
				own := on(i)
				own.version = version
				l.os[digest] = own
			}
		}
	}
	return reference
}

// order runs pawl against all of them.
func (all labs) order(args ...string) (code int, out, errs string) {
	var nodes []string
	for _, l := range all {
		nodes = append(nodes, l.address)
	}
	return pawl(all[0].t, nodes, args...)
}

// returned is closed once a node has undone what its upgrade disturbed.
type returned struct {
	once sync.Once
	done chan struct{}
}

func (r *returned) hooks() []node.Hook {
	return []node.Hook{
		{Phase: node.PhaseCordon, Name: "work", Run: func(context.Context, node.Occasion) error { return nil }},
		{Phase: node.PhaseUncordon, Name: "work", Run: func(context.Context, node.Occasion) error {
			r.once.Do(func() { close(r.done) })
			return nil
		}},
	}
}

func TestSoManyNodesAreTakenAtOnceAndTheNextOnceOneIsBackInService(t *testing.T) {
	t.Parallel()
	back := [3]returned{}
	for i := range back {
		back[i].done = make(chan struct{})
	}
	var together sync.WaitGroup
	together.Add(2)
	all := newLabs(t, 3, func(i int) []node.Hook { return back[i].hooks() })
	two := all.push("2.0.0", func(i int) software {
		meet := sync.OnceFunc(func() {
			if i < 2 { // neither is confirmed before both are on trial
				together.Done()
				together.Wait()
			}
		})
		return software{hooks: back[i].hooks(), checks: []node.Check{{Name: "both", Run: func(context.Context) error {
			meet()
			return nil
		}}}}
	})
	var early atomic.Bool
	begins := sync.OnceFunc(func() {
		select {
		case <-back[0].done:
		case <-back[1].done:
		default:
			early.Store(true)
		}
	})
	all[2].reach = func(at string) {
		if strings.HasPrefix(at, "upgrade") {
			begins()
		}
	}
	code, out, errs := all.order("upgrade", "--image", two, "--parallel", "2")
	require.Zero(t, code, errs)
	require.False(t, early.Load(), "the third is begun before one of the others is back in service:\n%s", out)
	for i, l := range all {
		require.Contains(t, out, fmt.Sprintf("node%d: boot boot-2: 2.0.0 in slot B, confirmed\n", i+1))
		require.Equal(t, "2.0.0 in B", l.next())
		require.Empty(t, l.status().Attempt.Marks, "nothing is left to be undone")
	}

	code, out, errs = all.order("upgrade", "--image", two, "--parallel", "3")
	require.Zero(t, code, errs)
	for i := range all {
		require.Contains(t, out, fmt.Sprintf("node%d: already: 2.0.0 runs in slot B, confirmed\n", i+1))
	}
}

func TestOnceANodeFailsNoOtherIsBegunAndTheSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	ill.Store(true)
	refused := make(chan struct{})
	say := sync.OnceFunc(func() { close(refused) })
	all := newLabs(t, 4, func(i int) []node.Hook {
		return []node.Hook{{Phase: node.PhaseAllow, Name: "work", Run: func(context.Context, node.Occasion) error {
			if i != 1 || !ill.Load() {
				return nil
			}
			say()
			return errors.New("not today")
		}}}
	})
	two := all.push("2.0.0", func(i int) software {
		return software{checks: []node.Check{{Name: "later", Run: func(context.Context) error {
			<-refused // the first is still on trial when the second fails
			return nil
		}}}}
	})
	code, out, errs := all.order("upgrade", "--image", two, "--parallel", "2")
	require.Equal(t, exitError, code)
	require.Contains(t, out, "node1: boot boot-2: 2.0.0 in slot B, confirmed\n", "it is followed to its end")
	require.Contains(t, out, "node2: failed: ")
	require.Contains(t, errs, "not today")
	require.Contains(t, errs, "pawl: not touched: node3, node4\n")
	for i, boots := range []int{2, 1, 1, 1} {
		require.Len(t, all[i].history(), boots)
	}

	ill.Store(false)
	code, out, errs = all.order("upgrade", "--image", two, "--parallel", "2")
	require.Zero(t, code, errs)
	require.Contains(t, out, "node1: already: 2.0.0 runs in slot B, confirmed\n")
	for _, l := range all {
		require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, l.history())
		require.Equal(t, attempt.Confirmed, l.status().Attempt.Result)
	}
}

func TestAFleetNeedsSomebodyWhoWaits(t *testing.T) {
	f := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B")}
	for args, says := range map[string]string{
		"--parallel 0":              "upgrade: --parallel 0: want 1 or more",
		"--parallel 2 --wait=false": "upgrade: --parallel without --wait would have all nodes restart at once",
	} {
		code, _, errs := pawl(t, []string{f.address(t), nobody}, append([]string{"upgrade", "--image", "os:2"},
			strings.Fields(args)...)...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, errs, says)
	}
	require.Empty(t, f.asked)
	code, out, errs := pawl(t, []string{f.address(t)}, "upgrade", "--image", "os:2", "--parallel", "2", "--stage")
	require.Zero(t, code, errs)
	require.NotContains(t, out, "restarting", "to stage disturbs nothing, so there is nothing to wait for")
}

// What an upgrade disturbed is part of it: the next node would be disturbed beside it.
func TestANodeIsNotDoneWhileSomethingIsLeftToBeUndone(t *testing.T) {
	left := status("boot-2", "B", "B")
	left.Undoing = []string{"uncordon: the API server does not answer"}
	f := &fake{status: status("boot-1", "A", "A"), after: left}
	node := f.address(t)
	saidUntil(t, "2 in slot B, confirmed; still to be undone: uncordon: the API server does not answer\n",
		"upgrade", "--image", "os:2", "--wait", "--nodes", node)

	f.refuses = kind(6, "same", "the node runs it")
	f.tells = true
	said := saidUntil(t, "still to be undone", "upgrade", "--image", "os:2", "--wait", "--nodes", node)
	require.Contains(t, said, ": already: 2 runs in slot B, confirmed\n")
	code, _, errs := pawl(t, []string{node}, "upgrade", "--image", "os:2")
	require.Zero(t, code, errs)
}

func TestTheWorstOfSeveralNodesIsTheExitCode(t *testing.T) {
	fell := &client.Error{Kind: client.FellBack}
	away := &client.Error{Kind: client.Unreachable}
	for want, errs := range map[int][]error{
		exitError:       {errors.New("refused"), errors.New("not touched: c")},
		exitFellBack:    {errors.New("refused"), fell, errors.New("not touched: c")},
		exitUnreachable: {away, fell},
		exitTimeout:     {fell, unfollowed{errors.New("interrupted")}},
	} {
		require.Equal(t, want, exitCode(errors.Join(errs...)))
	}
}

func TestEachNodeHasALineOfItsOwnOnATerminal(t *testing.T) {
	var out bytes.Buffer
	b := &board{out: terminal.To(&out), width: 40}
	endA, endB := b.begin("a", true), b.begin("b", true)
	took := func() string { defer out.Reset(); return out.String() }
	b.progress("a", &pawlv1.Progress{Step: "write"})
	require.Equal(t, "a: write", took())
	b.line("b", "restarting")
	require.Equal(t, "\r\x1b[Kb: restarting\na: write\nb: restarting", took())
	b.line("b", strings.Repeat("x", 99)+"\x1b[2J")
	screen := took()
	require.True(t, strings.HasPrefix(screen, "\r\x1b[K\x1b[A\x1b[Kb: xxx"), "%q", screen)
	require.NotContains(t, screen, "\x1b[2J")
	require.True(t, strings.HasSuffix(screen, "\na: write\nb: "+strings.Repeat("x", 36)), "%q", screen)
	endB()
	require.Equal(t, "\r\x1b[K\x1b[A\x1b[Ka: write", took())
	endA()
	require.Equal(t, "\r\x1b[K", took())
	for i := range 30 {
		b.begin(fmt.Sprint("n", i), true)
		b.line(fmt.Sprint("n", i), "waits")
	}
	took()
	b.line("n0", "goes on")
	require.Equal(t, maxRows-1, strings.Count(took(), "\x1b[A"), "no more than a terminal can clear")
}
