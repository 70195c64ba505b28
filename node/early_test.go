package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsAskedInAStartIsToldOfThisBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.early = true
		f.hang["started"] = make(chan struct{})
		s := f.server(t, Config{})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrStarting)
		defer cancel()
		require.ErrorIs(t, s.Recorded(ctx), ErrStarting)

		go func() { _, _ = s.Start(t.Context()) }()
		recorded := make(chan error, 1)
		go func() { recorded <- s.Recorded(t.Context()) }()
		synctest.Wait()
		require.Empty(t, recorded)
		close(f.hang["started"])
		require.NoError(t, <-recorded)
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, TrialWaiting, st.Checks.State)
	})
}

func TestAForcedRebootWaitsForNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.early = true
		f.hang["started"] = make(chan struct{})
		s := f.server(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = s.Start(ctx) }()
		synctest.Wait()
		_, err := s.Reboot(t.Context(), RebootRequest{Force: true})
		require.NoError(t, err)
		time.Sleep(grace)
		synctest.Wait()
		require.Equal(t, []string{"reboot, forced"}, f.rebooted())
		cancel()
	})
}

func TestAnOrderThatWaitsForAStartComesAfterWhatWasStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.early, f.boot.Staged = true, true
		f.hang["apply"] = make(chan struct{})
		s := f.server(t, Config{})
		refused := make(chan error, 1)
		go func() {
			err := s.Recorded(t.Context())
			if err == nil {
				_, err = s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
			}
			refused <- err
		}()
		synctest.Wait()
		started := make(chan error, 1)
		go func() {
			_, err := s.Start(t.Context())
			started <- err
		}()
		synctest.Wait()
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "apply the staged upgrade", st.Operation.Name)
		require.True(t, st.Operation.Running)
		close(f.hang["apply"])
		require.ErrorIs(t, <-started, ErrRestarting)
		require.Equal(t, []string{"started", "apply"}, f.called())
		require.Equal(t, []string{"the staged upgrade is armed"}, f.rebooted())
		require.ErrorIs(t, <-refused, ErrBusy)
	})
}

func TestAForcedRebootWaitsForNoDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.early = true
		s := f.server(t, Config{})
		answers := make(chan struct{})
		s.open = func(bool) (machine, error) { <-answers; return nil, errSick }
		go func() { _, _ = s.Start(t.Context()) }()
		begun := time.Now()
		r, err := s.Reboot(t.Context(), RebootRequest{Force: true})
		require.NoError(t, err)
		require.Equal(t, patience, time.Since(begun))
		require.Equal(t, "boot-1", r.BootID)
		synctest.Wait()
		require.Empty(t, f.rebooted(), "the answer goes first")
		time.Sleep(grace)
		synctest.Wait()
		require.Equal(t, []string{"reboot, forced"}, f.rebooted())
		close(answers)
		synctest.Wait()
	})
}
