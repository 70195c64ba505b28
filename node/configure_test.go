package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
)

// What can be known to fail is known at the start and in the plan, not once services were stopped.
func TestALabelThatNoPartitionHasIsFoundEarly(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{Unmount: []string{"STATE", "EPHEMERL"},
		Hooks: []Hook{{Phase: PhaseStop, Name: "all", Run: func(context.Context, Occasion) error {
			t.Error("services are stopped for nothing")
			return nil
		}}}})
	const says = `disk.raw has no partition "EPHEMERL" (did you mean EPHEMERAL?); it has ["EFI" "META" "STATE" "EPHEMERAL"]`
	_, err := s.Start(t.Context())
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, says)
	_, err = s.Plan(t.Context(), PlanRequest{Image: "os:2"})
	require.ErrorContains(t, err, says)
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Reboot: true})
	require.NoError(t, err)
	require.ErrorContains(t, op.Follow(t.Context(), 0, func(Event) error { return nil }), says)
	require.NotContains(t, f.called(), "prepare")
	op, err = s.Rollback(t.Context(), RollbackRequest{Reboot: true})
	require.NoError(t, err)
	require.ErrorContains(t, op.Follow(t.Context(), 0, func(Event) error { return nil }), says)
	require.Empty(t, f.rebooted())

	f.fail["labels"] = partition.ErrBusy
	_, err = s.Plan(t.Context(), PlanRequest{Image: "os:2"})
	require.ErrorIs(t, err, partition.ErrBusy, "what cannot be read is no answer")
}

// The clock of a trial runs while its configuration is found and judged.
func TestAConfigurationThatIsNotFoundEndsATrial(t *testing.T) {
	for name, test := range map[string]struct {
		load  func(context.Context) ([]Check, []Hook, error)
		why   string
		after time.Duration
	}{
		"it is wrong": {func(context.Context) ([]Check, []Hook, error) { return nil, nil, errSick },
			"the disk smells", 0},
		"a check is nothing": {func(context.Context) ([]Check, []Hook, error) { return []Check{{Name: "x"}}, nil, nil },
			`check "x"`, 0},
		"its phase is none": {func(context.Context) ([]Check, []Hook, error) {
			return nil, []Hook{{Phase: "drian", Name: "x", Run: func(context.Context, Occasion) error { return nil }}},
				nil
		}, `hook "x"`, 0},
		"it hangs": {func(ctx context.Context) ([]Check, []Hook, error) { <-ctx.Done(); return nil, nil, ctx.Err() },
			"not confirmed within", TrialDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake().onTrial()
				s := f.server(t, Config{Load: test.load})
				ctx, cancel := context.WithCancel(t.Context())
				begun, started := time.Now(), make(chan error, 1)
				go func() { _, err := s.Start(ctx); started <- err }()
				time.Sleep(TrialDeadline + time.Second)
				synctest.Wait()
				require.Len(t, f.rebooted(), 1)
				require.Contains(t, f.rebooted()[0], test.why)
				require.GreaterOrEqual(t, time.Since(begun), test.after)
				cancel()
				require.Error(t, <-started)
			})
		})
	}
}

func TestGiveUp(t *testing.T) {
	for name, test := range map[string]struct {
		f    *fake
		want bool
	}{
		"a trial": {newFake().onTrial(), true}, "no trial": {newFake(), false},
		"a boot that no attempt ordered": {newFake().unordered(), false},
		"a machine that cannot be read":  {func() *fake { f := newFake().onTrial(); f.fail["open"] = errSick; return f }(), false},
	} {
		for _, start := range []bool{false, true} {
			if start && name == "a machine that cannot be read" {
				continue
			}
			s := test.f.server(t, Config{})
			test.f.reboots = nil
			if start {
				_, err := s.Start(t.Context())
				require.NoError(t, err)
			}
			require.Equal(t, test.want, s.GiveUp("no"), name)
			require.Equal(t, test.want, len(test.f.rebooted()) == 1, name)
		}
	}
}

// A restart that waits for a disk which hangs ends with an error that says how to do without it.
func TestARestartWhoseDiskHangsEnds(t *testing.T) {
	for name, hang := range map[string]func(f *fake, s *Server, over chan struct{}){
		"when it is asked what the next boot starts": func(_ *fake, s *Server, over chan struct{}) {
			open := s.open
			s.open = func(readOnly bool) (machine, error) { <-over; return open(readOnly) }
		},
		"when it loads the kernel": func(f *fake, s *Server, over chan struct{}) { f.hang["kernel A"] = over },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := f.server(t, Config{Kexec: func(context.Context, string) error { return nil }})
				over := make(chan struct{})
				hang(f, s, over)
				_, err := s.Reboot(t.Context(), RebootRequest{})
				time.Sleep(2 * loadTime)
				if op, _ := s.queue.latest(); err == nil && op != nil {
					_, err = op.result()
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "a forced restart")
				_, running := s.queue.latest()
				require.False(t, running, "other operations may come")
				require.Empty(t, f.rebooted())
				_, err = s.Reboot(t.Context(), RebootRequest{Force: true, Mode: ModePowercycle})
				require.NoError(t, err)
				time.Sleep(loadTime)
				require.Len(t, f.rebooted(), 1)
				close(over)
				synctest.Wait()
			})
		})
	}
	require.Equal(t, "timeout", ErrorKind(errors.Join((&Server{}).deadDisk(0))))
}
