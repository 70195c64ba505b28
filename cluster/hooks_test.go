package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/quorum"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// fake is all that a node takes part in. It says what is done, and fails where it is told to.
type fake struct {
	said  []string
	fails map[string]error
}

func (f *fake) do(what string) error {
	f.said = append(f.said, what)
	return f.fails[what]
}

func (f *fake) Ask(context.Context, lock.Owner) error   { return f.do("ask") }
func (f *fake) Claim(context.Context, lock.Owner) error { return f.do("claim") }
func (f *fake) Reach(_ context.Context, _ lock.Owner, s lock.Step) error {
	return f.do("reach " + string(s))
}
func (f *fake) Release(context.Context, lock.Owner) error { return f.do("release") }

func (f *fake) Allow(_ context.Context, leaves bool) error {
	if leaves {
		return f.do("allow to leave")
	}
	return f.do("allow to restart")
}
func (f *fake) Foresee(context.Context) (string, error) {
	return "the version is raised", f.do("foresee")
}
func (f *fake) Yield(context.Context) error           { return f.do("yield") }
func (f *fake) Leave(context.Context) error           { return f.do("leave") }
func (f *fake) Return(context.Context, Service) error { return f.do("return") }
func (f *fake) Serves(context.Context) error          { return f.do("serves") }
func (f *fake) Hold(context.Context) error            { return f.do("hold") }
func (f *fake) Held(context.Context) error            { return f.do("held") }
func (f *fake) LetGo(context.Context) error           { return f.do("let go") }

func (f *fake) Stop(context.Context) error          { return f.do("stop") }
func (f *fake) Wipe(context.Context) error          { return f.do("wipe") }
func (f *fake) Start(context.Context, string) error { return f.do("start") }

func (f *fake) Cordon(context.Context, string) error      { return f.do("cordon") }
func (f *fake) Drain(context.Context, func(string)) error { return f.do("drain") }
func (f *fake) Restarts(context.Context, string)          { _ = f.do("restarts") }
func (f *fake) Uncordon(_ context.Context, _, outcome string) error {
	return f.do("uncordon: " + outcome)
}
func (f *fake) Ready(context.Context) error { return f.do("ready") }

func (f *fake) config() Config {
	return Config{Node: "n1", Lock: f, Members: f, Service: f, Work: f}
}

// run runs the hooks of phases in their order, until one fails.
func (f *fake) run(t *testing.T, c Config, preserve bool, phases ...node.Phase) (string, error) {
	t.Helper()
	f.said = nil
	o := node.Occasion{Attempt: attempt.Attempt{ID: "a1", Kind: attempt.Upgrade, Version: "2.0.0",
		Preserve: preserve},
		Tell: func(text string) { f.said = append(f.said, text) }}
	for _, p := range phases {
		for _, h := range Hooks(c) {
			if h.Phase != p {
				continue
			}
			o.Phase = p
			if err := h.Run(t.Context(), o); err != nil && !errors.Is(err, node.ErrAlready) {
				return strings.Join(f.said, ", "), err
			}
		}
	}
	return strings.Join(f.said, ", "), nil
}

var (
	before = []node.Phase{node.PhaseLock, node.PhaseCordon, node.PhaseDrain, node.PhaseLeave, node.PhaseLast}
	after  = []node.Phase{node.PhaseRejoin, node.PhaseUncordon, node.PhaseUnlock}
)

func TestANodeGoesOneStepAfterTheOther(t *testing.T) {
	f := &fake{}
	said, err := f.run(t, f.config(), false, node.PhaseAllow)
	require.NoError(t, err)
	require.Equal(t, "ask, allow to leave, foresee, the version is raised", said, "a plan tells of it")
	said, err = f.run(t, f.config(), false, before...)
	require.NoError(t, err)
	require.Equal(t, "claim, cordon, drain, reach drained, allow to leave, hold, reach down, leave, stop, wipe, "+
		"reach down, restarts", said)
	said, err = f.run(t, f.config(), true, before...)
	require.NoError(t, err)
	require.Equal(t, "claim, cordon, drain, reach drained, allow to restart, hold, reach down, yield, allow to "+
		"restart, reach down, restarts", said)
	said, err = f.run(t, f.config(), false, after...)
	require.NoError(t, err)
	require.Equal(t, "reach back, held, return, reach back, uncordon: the upgrade to version 2.0.0 is "+
		"given up, let go, serves, ready, release", said)
	said, err = f.run(t, Config{Node: "n1", Lock: f}, false, append(before, after...)...)
	require.NoError(t, err)
	require.Equal(t, "claim, reach drained, reach down, reach down, release", said)
}

func TestANodeThatLostItsSlotDoesNotGoDown(t *testing.T) {
	f := &fake{fails: map[string]error{"reach down": lock.ErrLost}}
	said, err := f.run(t, f.config(), false, before...)
	require.ErrorIs(t, err, lock.ErrLost)
	require.NotContains(t, said, "leave, stop")
	said, err = f.run(t, f.config(), true, node.PhaseLast)
	require.ErrorIs(t, err, lock.ErrLost)
	require.Equal(t, "allow to restart, reach down", said)
}

func TestASlotIsKeptUntilTheNodeIsBackInService(t *testing.T) {
	for _, what := range []string{"let go", "serves", "ready"} {
		f := &fake{fails: map[string]error{what: errors.New("not yet")}}
		said, err := f.run(t, f.config(), false, node.PhaseUnlock)
		require.ErrorContains(t, err, "not yet")
		require.NotContains(t, said, "release")
	}
	f := &fake{fails: map[string]error{"reach back": errors.New("no space is left")}}
	_, err := f.run(t, f.config(), false, after...)
	require.NoError(t, err, "the step back is for people alone")
}

func TestANodeWaitsForASlot(t *testing.T) {
	f := &fake{fails: map[string]error{"claim": &lock.HeldError{Pool: "p",
		By: []lock.Record{{Owner: lock.Owner{Node: "n2", Attempt: "a2"}, Step: lock.Down}}}}}
	c := f.config()
	_, err := f.run(t, c, false, node.PhaseLock)
	require.ErrorContains(t, err, "held by node n2")
	c.Wait = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = c.claim(ctx, node.Occasion{Tell: func(text string) { f.said = append(f.said, text) }})
	require.ErrorContains(t, err, "held by node n2")
	require.True(t, slices.ContainsFunc(f.said, func(s string) bool {
		return strings.HasPrefix(s,
			"waits: pool p has no free slot")
	}), f.said)
}

func TestATrialWhoseMemberHasLeftIsConfirmedWithoutIt(t *testing.T) {
	f := &fake{fails: map[string]error{"serves": quorum.ErrNoMember}}
	for _, check := range Checks(f.config()) {
		require.NoError(t, check.Run(t.Context()))
	}
	c := f.config()
	c.Service = nil
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, Checks(c)[0].Run(ctx), quorum.ErrNoMember)
}
