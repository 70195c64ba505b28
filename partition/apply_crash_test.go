package partition

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// A change of a table: the disk that it starts from, and the layout that is applied.
type changed struct {
	name  string
	start *disktest.Disk
	want  Layout
}

func changes(t *testing.T, sector int) []changed {
	t.Helper()
	size := int64(16 * mib)
	more := []Spec{{Label: "more", Type: TypeLinux, GUID: uuid.New(), Size: mib}}
	start := func() (*disktest.Disk, Layout) {
		d := disktest.New(size, sector)
		specs := small("crash")
		specs[4].Size = 2 * mib // leaves room
		require.NoError(t, Apply(d, planned(t, nil, size, sector, specs)))
		l, err := Read(d)
		require.NoError(t, err)
		return d, l
	}
	full, l := start()
	all := []changed{
		{"first table", disktest.New(size, sector), planned(t, nil, size, sector, small("crash"))},
		{"add a partition", full, planned(t, &l, size, sector, more)},
	}
	for name, at := range map[string]int64{"primary": int64(sector), "backup": size - int64(sector)} {
		d := full.Clone()
		_, _ = d.WriteAt(make([]byte, sector), at)
		all = append(all, changed{"add a partition, " + name + " damaged", d, planned(t, &l, size, sector, more)})
	}
	d := full.Resized(24 * mib)
	now, err := Read(d)
	require.NoError(t, err)
	grown, err := Grow(now, d.Size())
	require.NoError(t, err)
	return append(all, changed{"grow", d, grown})
}

// judge returns what every crash disk must satisfy: the old or the new table, and the same change run again finishes.
func (c changed) judge() func(*disktest.Crash) error {
	old, oldErr := Read(c.start)
	return func(crash *disktest.Crash) error {
		d := crash.Device()
		got, err := Read(d)
		switch {
		case err == nil && reflect.DeepEqual(entries(got), entries(c.want)) && got.GUID == c.want.GUID &&
			(!crash.Finished || len(got.Problems) == 0):
		case crash.Finished:
			return fmt.Errorf("reported as done: table %v, problems %q, error %v", entries(got), got.Problems, err)
		case err == nil && oldErr == nil && reflect.DeepEqual(entries(got), entries(old)) && got.GUID == old.GUID:
		case errors.Is(err, ErrNoTable) && errors.Is(oldErr, ErrNoTable):
		case errors.Is(oldErr, ErrNoTable) && errors.Is(err,
			disktest.ErrUnreadable): // something of others may be there: a person says that it is lost
			if err := Wipe(d); err != nil {
				return err
			}
		default:
			return fmt.Errorf("table %v, error %v", entries(got), err)
		}
		if crash.Number%8 != 0 {
			return nil
		}
		if err := Apply(d, c.want); err != nil {
			return fmt.Errorf("run again: %w", err)
		}
		return nil
	}
}

func record(t *testing.T, c changed) *disktest.Trace {
	t.Helper()
	d := c.start.Clone()
	d.Record()
	require.NoError(t, Apply(d, c.want))
	return d.Trace()
}

func TestACrashLeavesTheOldOrTheNewTable(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, c := range changes(t, sector) {
			for _, block := range []int{512, 4096} {
				t.Run(fmt.Sprintf("%s/sectors of %d/blocks of %d", c.name, sector, block), func(t *testing.T) {
					trace := record(t, c)
					require.NotEmpty(t, trace.Ops)
					o := disktest.Options{Block: block, Workers: 2, Destroyed: 256}
					require.NoError(t, trace.Crashes(o, c.judge()))
				})
			}
		}
	}
}

// The proof proves itself: with a flush dropped, or two writes swapped across one, some crash is judged bad. Writes
// within one gap have no order, so those pairs are left out.
func TestTheCrashTestNoticesEveryMutant(t *testing.T) {
	for _, c := range changes(t, 512) {
		t.Run(c.name, func(t *testing.T) {
			trace := record(t, c)
			o := disktest.Options{Workers: 2} // all of them, so that nothing depends on a seed
			flushes, writes := trace.Flushes(), trace.Writes()
			require.Len(t, flushes, 2)
			for _, at := range flushes {
				require.Error(t, trace.DropFlush(at).Crashes(o, c.judge()), "without the flush at %v", trace.Ops[at])
			}
			swapped := 0
			for _, i := range writes {
				for _, k := range writes {
					if i < flushes[0] && flushes[0] < k {
						swapped++
						require.Error(t, trace.Swap(i, k).Crashes(o, c.judge()), "%v exchanged with %v", trace.Ops[i],
							trace.Ops[k])
					}
				}
			}
			require.NotZero(t, swapped)
		})
	}
}

func TestFaultsLeaveTheOldOrTheNewTable(t *testing.T) {
	for _, c := range changes(t, 512) {
		old, oldErr := Read(c.start)
		struck := 0
		err := c.start.EachFault(func(d *disktest.Disk) error { return Apply(d, c.want) },
			func(f disktest.Fault, n int, left *disktest.Disk, result error) error {
				struck++
				got, err := Read(left)
				was := oldErr == nil && reflect.DeepEqual(entries(got), entries(old)) || oldErr != nil && err != nil
				is := err == nil && reflect.DeepEqual(entries(got), entries(c.want))
				if !was && !is {
					return fmt.Errorf("%s: %v %d: table %v, error %v", c.name, f, n, entries(got), err)
				}
				if result == nil && !is {
					return fmt.Errorf("%s: %v %d: no error, and not the new table", c.name, f, n)
				}
				if f != disktest.ReadFails && result == nil {
					return fmt.Errorf("%s: %v %d was swallowed", c.name, f, n)
				}
				return Apply(left, c.want)
			})
		require.NoError(t, err)
		require.Greater(t, struck, 8, c.name)
	}
}
