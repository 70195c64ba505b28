package meta

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// killed returns a copy of d on which a program died just before its nth flush: what it wrote after the last one is in
// a cache, which the next program reads, and may never arrive. Recording is on.
func killed(t *testing.T, d *disktest.Disk, run func(*disktest.Disk) error, n int) (left *disktest.Disk, ok bool) {
	t.Helper()
	first := d.Clone()
	first.Record()
	require.NoError(t, run(first))
	trace := first.Trace()
	flushes := trace.Flushes()
	if n >= len(flushes) {
		return nil, false
	}
	from := 0
	if n > 0 {
		from = flushes[n-1] + 1
	}
	left = trace.After(from)
	left.Record()
	for _, o := range trace.Ops[from:flushes[n]] {
		_, err := left.WriteAt(o.Data, o.Off)
		require.NoError(t, err)
	}
	return left, true
}

// A program that was killed leaves values that are read and are not on the medium. Whatever comes next, in the same
// boot, must neither lose all values by writing beside them, nor report as done what a cut can still take back.
func TestACrashAfterAKilledProgram(t *testing.T) {
	o := disktest.Options{Exhaustive: 7, Destroyed: 64, Samples: 8, Seed: 1} // hashing takes its time
	first := func(d *disktest.Disk) error { return update(d, []byte("killed")) }
	for name, d := range starts(t) {
		for _, next := range []string{"another value", "the same value", "only opened"} {
			n := 0
			for ; ; n++ {
				left, ok := killed(t, d, first, n)
				if !ok {
					break
				}
				want := []byte("killed")
				switch next {
				case "another value":
					want = []byte("next")
					require.NoError(t, update(left, want))
				case "the same value":
					require.NoError(t, update(left, want))
				default:
					want = nil
					_, err := Open(left)
					require.NoError(t, err)
				}
				judge := func(c *disktest.Crash) error {
					got, err := value(c.Device())
					switch {
					case err != nil:
						return err
					case want != nil && c.Finished && got != string(want):
						return fmt.Errorf("reported as done, and is %q", got)
					case got != "old" && got != "killed" && got != string(want):
						return fmt.Errorf("%q", got)
					}
					return nil
				}
				trace := left.Trace()
				require.NoError(t, trace.Crashes(o, judge), "%s, killed before flush %d, then %s", name, n, next)
				if name == "both good" && n == 2 && want != nil { // copy 1 was on its way
					require.Error(t, trace.DropFlush(trace.Flushes()[0]).Crashes(o, judge), "%s", next)
				}
			}
			require.GreaterOrEqual(t, n, 2, name)
		}
	}
}

// Formatting keeps a valid META valid also when part of it was in a cache only.
func TestACrashOfFormatAfterAKilledProgram(t *testing.T) {
	for name, d := range starts(t) {
		for n := 0; ; n++ {
			left, ok := killed(t, d, func(d *disktest.Disk) error { return update(d, []byte("killed")) }, n)
			if !ok {
				break
			}
			require.NoError(t, Format(left))
			require.NoError(t, left.Trace().Crashes(disktest.Options{Samples: 8, Destroyed: 64, Seed: 1},
				func(c *disktest.Crash) error {
					_, err := Read(c.Device())
					return err
				}), "%s, killed before flush %d", name, n)
		}
	}
}

// A flush that failed is final: the Store writes no more, since nobody knows what arrived. Opened again, it goes on.
func TestAFailedWriteOrFlushIsFinal(t *testing.T) {
	for _, f := range []disktest.Fault{disktest.WriteFails, disktest.NoSpace, disktest.ShortWrite, disktest.SyncFails} {
		for n := 1; ; n++ {
			d := starts(t)["both good"]
			s, err := Open(d)
			require.NoError(t, err)
			d.FailAt(n, f)
			err = s.Set(0x50, []byte("new"))
			if !d.Failed() {
				require.NoError(t, err)
				require.Greater(t, n, 2)
				break
			}
			require.Error(t, err)
			d.Record()
			for _, again := range []string{"new", "other"} {
				err = s.Set(0x50, []byte(again))
				require.ErrorContains(t, err, "open META again", "%v %d", f, n)
			}
			require.Empty(t, d.Trace().Ops)
			_, err = s.Value(0x50)
			require.NoError(t, err, "reading goes on")
			require.NoError(t, update(d, []byte("new")))
			require.True(t, bytes.Equal(part(d, 1), part(d, 2)))
		}
	}
	d := starts(t)["copies differ"]
	d.FailAt(1, disktest.SyncFails)
	_, err := Open(d)
	require.Error(t, err)
	require.False(t, errors.Is(err, ErrDamaged))
}
