package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/report"
)

func TestAnUpgradeIsCancelled(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	_, _, err := s.Cancel(t.Context())
	require.ErrorIs(t, err, ErrNothingToCancel)
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	until(t, "it prepares", func() bool { return len(f.called()) > 1 })
	name, why, err := s.Cancel(t.Context())
	require.NoError(t, err)
	require.Equal(t, "upgrade to os:2", name)
	require.ErrorContains(t, why, "it was cancelled by hand")
	_, ended := op.result()
	require.Equal(t, "cancelled", ErrorKind(ended))
	require.NotContains(t, f.called(), "arm")
	require.Empty(t, f.rebooted())
	delete(f.hang, "prepare")
	op, err = s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err, "the node takes the next order")
	<-op.ended
}

func TestWhatIsArmedIsNotCancelled(t *testing.T) {
	f := newFake()
	f.deaf["arm"] = make(chan struct{})
	s := f.server(t, Config{})
	_, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Reboot: true})
	require.NoError(t, err)
	until(t, "it is being armed", func() bool { return len(f.called()) > 2 })
	cancelled := make(chan error, 1)
	go func() {
		_, _, err := s.Cancel(t.Context())
		cancelled <- err
	}()
	op, _ := s.queue.latest()
	until(t, "it is being cancelled", op.wasCancelled)
	f.let("arm")
	require.ErrorIs(t, <-cancelled, ErrTooLate)
	until(t, "the node restarts", func() bool { return len(f.rebooted()) == 1 })
}

func TestWhatTheNodeDoesByItselfIsNotCancelled(t *testing.T) {
	f := newFake().onTrial()
	f.hang["confirm"] = make(chan struct{})
	s := f.server(t, Config{})
	_, err := s.Start(t.Context())
	require.NoError(t, err)
	proved := make(chan error, 1)
	go func() { proved <- s.Prove(t.Context()) }()
	until(t, "it is being confirmed", func() bool {
		op, running := s.queue.latest()
		return running &&
			op.name == "confirm"
	})
	_, _, err = s.Cancel(t.Context())
	require.ErrorIs(t, err, ErrNothingToCancel)
	close(f.hang["confirm"])
	require.NoError(t, <-proved)
}

func TestARollbackThatGaveATrialUpIsNotCancelledAfterwards(t *testing.T) {
	f := newFake().onTrial()
	f.deaf["rollback"] = make(chan struct{})
	s := f.server(t, Config{})
	_, err := s.Start(t.Context())
	require.NoError(t, err)
	_, err = s.Rollback(t.Context(), RollbackRequest{Reboot: true})
	require.NoError(t, err)
	until(t, "it is being given up", func() bool { return len(f.called()) > 1 })
	cancelled := make(chan error, 1)
	go func() {
		_, _, err := s.Cancel(t.Context())
		cancelled <- err
	}()
	op, _ := s.queue.latest()
	until(t, "it is being cancelled", op.wasCancelled)
	f.let("rollback")
	require.ErrorIs(t, <-cancelled, ErrTooLate)
	until(t, "the node restarts", func() bool { return len(f.rebooted()) == 1 })
}

func TestAServiceEndsThoughItsOperationDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.deaf["prepare"] = make(chan struct{})
		s := f.server(t, Config{})
		_, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
		require.NoError(t, err)
		synctest.Wait()
		require.ErrorContains(t, s.Close(), "upgrade to os:2 does not end")
		f.let("prepare")
	})
}

func TestARebootWaitsForWhatTheNodeDoesByItself(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"the loader is replaced": time.Minute, "it hangs": ownTime +
		time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.status.Own = report.Loader{Own: "255"}
				f.hang["replace the loader"] = make(chan struct{})
				s := f.server(t, Config{})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				proved := make(chan error, 1)
				go func() { proved <- s.Prove(t.Context()) }()
				time.AfterFunc(lasts, func() { close(f.hang["replace the loader"]) })
				synctest.Wait()
				_, err = s.Reboot(t.Context(), RebootRequest{})
				if lasts > ownTime {
					require.ErrorIs(t, err, ErrBusy)
				} else {
					require.NoError(t, err)
					time.Sleep(readersGrace)
					require.Equal(t, []string{"reboot"}, f.rebooted())
				}
				require.NoError(t, <-proved)
			})
		})
	}
}
