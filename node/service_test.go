package node

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// until waits for something that another goroutine brings about.
func until(t *testing.T, what string, is func() bool) {
	require.Eventually(t, is, 5*time.Second, time.Millisecond, what)
}

func TestOneOperationAtATime(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	first, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })

	for name, ask := range map[string]func() error{
		"upgrade":  func() error { _, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:3"}); return err },
		"rollback": func() error { _, err := s.Rollback(t.Context(), RollbackRequest{}); return err },
		"reboot":   func() error { _, err := s.Reboot(t.Context(), RebootRequest{}); return err },
	} {
		err := ask()
		require.ErrorIs(t, err, ErrBusy, name)
		require.Equal(t, "busy", ErrorKind(err))
		require.ErrorContains(t, err, "upgrade to os:2 has been running since")
	}

	st, err := s.Status(t.Context())
	require.NoError(t, err, "status answers meanwhile")
	require.Equal(t, bootloader.A, st.Loader.Active)
	require.True(t, st.Operation.Running)
	require.Equal(t, progress.StepWrite, st.Operation.Progress.Step)
	require.EqualValues(t, 100, st.Operation.Progress.Bytes)

	f.mu.Lock()
	f.fail["status"] = errSick // the disk is being changed under the reader
	f.mu.Unlock()
	st, err = s.Status(t.Context())
	require.NoError(t, err)
	require.Contains(t, st.Warnings[0], "the disk smells")
	require.Equal(t, "boot-1", st.BootID)
	f.mu.Lock()
	delete(f.fail, "status")
	f.mu.Unlock()

	_, err = s.Plan(t.Context(), PlanRequest{Image: "os:2"})
	require.NoError(t, err, "a plan needs no turn")
	close(f.hang["prepare"])
	require.NoError(t, first.Follow(t.Context(), 0, func(Event) error { return nil }))
	until(t, "the end", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && !st.Operation.Running
	})
	require.Empty(t, f.rebooted(), "no restart was asked for")
}

func TestACallerThatGoesAway(t *testing.T) {
	for name, attached := range map[string]bool{"the upgrade goes on": false, "attached: the upgrade ends": true} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.hang["prepare"] = make(chan struct{})
			s := f.server(t, Config{})
			ctx, leave := context.WithCancel(t.Context())
			life := t.Context()
			if attached {
				life = ctx
			}
			op, err := s.Upgrade(life, UpgradeRequest{Image: "os:2", Reboot: true, Attached: attached})
			require.NoError(t, err)
			go func() { _ = op.Follow(ctx, 0, func(Event) error { return nil }) }()
			until(t, "prepare", func() bool { return len(f.called()) == 2 })
			leave()
			if attached {
				<-op.ended
				_, err := op.result()
				require.ErrorIs(t, err, context.Canceled)
				require.NotContains(t, f.called(), "arm")
				return
			}
			until(t, "the reader's end", func() bool { op.mu.Lock(); defer op.mu.Unlock(); return op.readers == 0 })
			close(f.hang["prepare"])
			until(t, "the restart", func() bool { return len(f.rebooted()) == 1 })
			require.Contains(t, f.called(), "arm")
		})
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	for image, kind := range map[string]string{"": "request", "os:nowhere": "image-not-found"} {
		op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: image, Reboot: true})
		if err == nil {
			err = op.Follow(t.Context(), 0, func(Event) error { return nil })
		}
		require.Equal(t, kind, ErrorKind(err))
		_, err = s.Plan(t.Context(), PlanRequest{Image: image})
		require.Equal(t, kind, ErrorKind(err))
	}
	require.Empty(t, f.called())
	require.Empty(t, f.rebooted())
	f.fail["open"] = errSick
	_, err := s.Status(t.Context())
	require.ErrorContains(t, err, "the disk smells")
	require.Equal(t, "boot-1", s.About().BootID, "that needs no disk")
}

func TestReboot(t *testing.T) {
	f := newFake()
	f.fail["reboot"] = errSick
	s := f.server(t, Config{})
	e, err := s.Reboot(t.Context(), RebootRequest{})
	require.NoError(t, err)
	require.Equal(t, Expected{BootID: "boot-1", Version: "1", Image: "sha256:1", Slot: "A"}, e)
	until(t, "a restart that fails is told, and frees the node", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && !st.Operation.Running &&
			fmt.Sprint(st.Operation.Err) == "restart the machine: the disk smells"
	})
	f.mu.Lock()
	delete(f.fail, "reboot")
	f.status.Loader.Armed, f.status.Loader.Tries = "B", 1
	f.status.Attempt = &attempt.Attempt{ID: "a", State: attempt.Armed, To: "B", Version: "2", Image: "sha256:2"}
	f.mu.Unlock()
	e, err = s.Reboot(t.Context(), RebootRequest{})
	require.NoError(t, err)
	require.True(t, e.Trial, "what is armed boots next")
	require.Equal(t, "sha256:2", e.Image)
	until(t, "the restart", func() bool { return len(f.rebooted()) == 2 })
}

func TestAForcedRebootDoesNotWait(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	_, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })
	_, err = s.Reboot(t.Context(), RebootRequest{Force: true})
	require.NoError(t, err)
	until(t, "the restart", func() bool { return len(f.rebooted()) == 1 })
}

func TestCloseEndsWhatRuns(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	op, err := s.Upgrade(s.ctx, UpgradeRequest{Image: "os:2", Reboot: true})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })
	require.NoError(t, s.Close())
	over, err := op.result()
	require.True(t, over)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, f.rebooted())
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "which disk")
	_, err = New(Config{Disk: "d", Checks: []Check{{Name: "x"}}})
	require.ErrorContains(t, err, "a check needs a name")
}

// TestAMachineThatCannotBeOpened: PID 1 must not die of it.
func TestAMachineThatCannotBeOpened(t *testing.T) {
	f := newFake()
	s, err := New(Config{Disk: filepath.Join(t.TempDir(), "none")})
	require.NoError(t, err)
	s.pull = f.server(t, Config{}).pull
	for name, order := range map[string]func() (*Operation, error){
		"upgrade":  func() (*Operation, error) { return s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"}) },
		"rollback": func() (*Operation, error) { return s.Rollback(t.Context(), RollbackRequest{}) },
	} {
		op, err := order()
		require.NoError(t, err, name)
		require.ErrorContains(t, op.Follow(t.Context(), 0, func(Event) error { return nil }), "no such file", name)
	}
}
