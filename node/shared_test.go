package node

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/doctor"
)

func TestManyCallersShareAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := f.server(t, Config{})
		var at, most, runs atomic.Int32
		s.doctors.do = func(context.Context) (doctor.Diagnosis, error) {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			runs.Add(1)
			time.Sleep(time.Second)
			return doctor.Diagnosis{Assumes: []string{"nothing"}}, nil
		}
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				d, err := s.Doctor(t.Context())
				require.NoError(t, err)
				require.Equal(t, []string{"nothing"}, d.Assumes)
			})
		}
		all.Wait()
		require.EqualValues(t, 1, most.Load())
		require.LessOrEqual(t, runs.Load(), int32(2), "who asks while it runs hears of what is found after that")
	})
}

func TestADoctorThatNobodyWaitsForEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := f.server(t, Config{})
		ended := 0
		s.diagnose = func(ctx context.Context) (doctor.Diagnosis, error) {
			<-ctx.Done()
			ended++
			return doctor.Diagnosis{}, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			go func() { _, _ = s.Doctor(ctx) }()
		}
		synctest.Wait()
		go func() { _, _ = s.Doctor(t.Context()) }() // of the next run
		synctest.Wait()
		require.Zero(t, ended)
		cancel()
		synctest.Wait()
		require.Equal(t, 1, ended, "the first run; the second has a caller")
	})
}
