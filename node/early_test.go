package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// calls are those of the API that tell of the machine or change it.
var calls = map[string]func(context.Context, service) error{
	"status": func(ctx context.Context, v service) error { _, err := v.Status(ctx, nil); return err },
	"doctor": func(ctx context.Context, v service) error { _, err := v.Doctor(ctx, nil); return err },
	"plan": func(ctx context.Context, v service) error {
		_, err := v.Plan(ctx, &pawlv1.PlanRequest{Image: "os:2"})
		return err
	},
	"upgrade": func(ctx context.Context, v service) error {
		return v.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2"}, nil)
	},
	"rollback":     func(ctx context.Context, v service) error { return v.Rollback(ctx, &pawlv1.RollbackRequest{}, nil) },
	"cancel stage": func(ctx context.Context, v service) error { _, err := v.CancelStage(ctx, nil); return err },
	"reboot": func(ctx context.Context, v service) error {
		_, err := v.Reboot(ctx, &pawlv1.RebootRequest{})
		return err
	},
}

func TestNothingIsToldOfTheMachineAndNothingIsDoneBeforeStart(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.early = true
				s := f.server(t, Config{})
				s.diagnose = func(context.Context) (d upgrade.Diagnosis, err error) { return d, f.call(t.Context(), "diagnose") }
				begin := time.Now()
				err := call(t.Context(), service{s})
				require.ErrorIs(t, err, ErrStarting)
				require.Equal(t, "starting", kindOf(t, err))
				require.Equal(t, startTime, time.Since(begin))

				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				require.ErrorIs(t, call(ctx, service{s}), context.DeadlineExceeded, "a caller who waits for less")
				require.Empty(t, f.called())
				require.Empty(t, f.rebooted())
			})
		})
	}
}

func TestWhatIsAskedInAStartIsToldOfThisBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.early = true
		f.hang["started"] = make(chan struct{})
		s := f.server(t, Config{})
		v, err := service{s}.Version(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "boot-1", v.BootId)

		go func() { _, _ = s.Start(t.Context()) }()
		told := make(chan *pawlv1.StatusResponse, 1)
		go func() {
			st, err := service{s}.Status(t.Context(), nil)
			require.NoError(t, err)
			told <- st
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, told)
		close(f.hang["started"])
		require.Equal(t, "waiting", (<-told).Checks.State)
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
		_, err := service{s}.Reboot(t.Context(), &pawlv1.RebootRequest{Force: true})
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
		go func() { refused <- service{s}.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"}, nil) }()
		synctest.Wait()
		started := make(chan error, 1)
		go func() {
			_, err := s.Start(t.Context())
			started <- err
		}()
		synctest.Wait()
		st, err := service{s}.Status(t.Context(), nil)
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
		r, err := service{s}.Reboot(t.Context(), &pawlv1.RebootRequest{Force: true})
		require.NoError(t, err)
		require.Equal(t, patience, time.Since(begun))
		require.Equal(t, "boot-1", r.Expected.BootId)
		synctest.Wait()
		require.Empty(t, f.rebooted(), "the answer goes first")
		time.Sleep(grace)
		synctest.Wait()
		require.Equal(t, []string{"reboot, forced"}, f.rebooted())
		close(answers)
		synctest.Wait()
	})
}
