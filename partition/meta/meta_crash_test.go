package meta

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// start is META with values "old", in every state that a cut of an earlier change can leave.
func starts(t *testing.T) map[string]*disktest.Disk {
	t.Helper()
	d, s := formatted(t)
	require.NoError(t, s.Set(1, []byte("kept")))
	require.NoError(t, s.Set(0x50, []byte("old")))
	other := d.Clone()
	o, err := Open(other)
	require.NoError(t, err)
	require.NoError(t, o.Set(0x50, []byte("never finished")))

	one, two, differ := d.Clone(), d.Clone(), d.Clone()
	_, _ = one.WriteAt(make([]byte, 512), 0)
	two.Spoil(CopySize+512, 512)
	_, _ = differ.WriteAt(both(t, other)[CopySize:], CopySize)
	return map[string]*disktest.Disk{"both good": d, "copy 1 bad": one, "copy 2 unreadable": two,
		"copies differ": differ}
}

func value(d *disktest.Disk) (string, error) {
	v, err := Read(d)
	if err != nil {
		return "", err
	}
	if kept, err := v.Value(1); err != nil || string(kept) != "kept" {
		return "", fmt.Errorf("another tag is lost: %q, %w", kept, err)
	}
	got, err := v.Value(0x50)
	return string(got), err
}

func update(d *disktest.Disk, to []byte) error {
	s, err := Open(d)
	if err != nil {
		return err
	}
	return s.Set(0x50, to)
}

func judge(want []byte) func(*disktest.Crash) error {
	return func(c *disktest.Crash) error {
		d := c.Device()
		got, err := value(d)
		if err != nil {
			return err
		}
		if got != string(want) && (got != "old" || c.Finished) {
			return fmt.Errorf("neither the old nor the new value, or lost after it was reported: %.20q", got)
		}
		if c.Finished && !bytes.Equal(part(d, 1), part(d, 2)) {
			return errors.New("the copies differ after the end")
		}
		if c.Number%16 != 0 { // hashing takes its time; make proof judges all
			return nil
		}
		if err := update(d, want); err != nil {
			return fmt.Errorf("run again: %w", err)
		}
		if got, err = value(d); got != string(want) || !bytes.Equal(part(d, 1), part(d, 2)) {
			return fmt.Errorf("run again: %.20q, %w", got, err)
		}
		return nil
	}
}

// part is a copy without its middle, which is always zero here and costs time to compare.
func part(d *disktest.Disk, copy int64) []byte {
	b := make([]byte, 2*8192)
	_, _ = d.ReadAt(b[:8192], (copy-1)*CopySize)
	_, _ = d.ReadAt(b[8192:], copy*CopySize-8192)
	return b
}

func recorded(t *testing.T, d *disktest.Disk, to []byte) *disktest.Trace {
	t.Helper()
	d.Record()
	require.NoError(t, update(d, to))
	return d.Trace()
}

func TestACrashLeavesTheOldOrTheNewValue(t *testing.T) {
	for name, d := range starts(t) {
		for _, size := range []int{3, 3000} {
			for _, block := range []int{512, 4096} {
				t.Run(fmt.Sprintf("%s/value of %d/blocks of %d", name, size, block), func(t *testing.T) {
					want := bytes.Repeat([]byte("n"), size)
					trace := recorded(t, d.Clone(), want)
					o := disktest.Options{Block: block, Destroyed: 64, Samples: 4, Workers: 2}
					require.NoError(t, trace.Crashes(o, judge(want)))
				})
			}
		}
	}
}

// The proof proves itself: each flush dropped, and each write exchanged with one across a flush, is noticed. Whole
// copies could be written in either order when both are good; only never both at once.
func TestTheCrashTestNoticesEveryMutant(t *testing.T) {
	want := []byte("new")
	o := disktest.Options{Workers: 2, Samples: 8, Destroyed: 64}
	for _, name := range []string{"both good", "copy 1 bad"} {
		t.Run(name, func(t *testing.T) {
			trace := recorded(t, starts(t)[name], want)
			flushes, writes := trace.Flushes(), trace.Writes()
			// the first is for what a killed program left: TestACrashAfterAKilledProgram
			for _, at := range flushes[1:] {
				require.Error(t, trace.DropFlush(at).Crashes(o, judge(want)), "without %v", trace.Ops[at])
			}
			last := flushes[len(flushes)-2] // between the copies
			for _, i := range writes {
				for _, k := range writes {
					if len(flushes) == 3 && i < last && last < k {
						require.Error(t, trace.Swap(i, k).Crashes(o, judge(want)), "%v exchanged with %v", trace.Ops[i],
							trace.Ops[k])
					}
				}
			}
		})
	}
}

// Open alone: whatever it finds, no cut changes what is read, and when it is done the copies agree for good.
func TestACrashOfOpenChangesNothing(t *testing.T) {
	same := func(c *disktest.Crash) error {
		d := c.Device()
		if got, err := value(d); err != nil || got != "old" {
			return fmt.Errorf("%q, %w", got, err)
		}
		if c.Finished && !bytes.Equal(part(d, 1), part(d, 2)) {
			return errors.New("the copies differ after the end")
		}
		return nil
	}
	o := disktest.Options{Samples: 16, Destroyed: 128}
	for name, d := range starts(t) {
		d.Record()
		_, err := Open(d)
		require.NoError(t, err)
		trace := d.Trace()
		require.NoError(t, trace.Crashes(o, same), name)
		if name == "both good" {
			require.Empty(t, trace.Ops)
			continue
		}
		require.Error(t, trace.DropFlush(trace.Flushes()[1]).Crashes(o, same), name)
	}
}

func TestFaultsLeaveTheOldOrTheNewValue(t *testing.T) {
	want := []byte("new")
	for name, d := range starts(t) {
		struck := 0
		require.NoError(t, d.EachFault(func(d *disktest.Disk) error { return update(d, want) },
			func(f disktest.Fault, n int, left *disktest.Disk, result error) error {
				struck++
				got, err := value(left)
				if errors.Is(err, ErrDamaged) && f == disktest.ReadFails {
					return fmt.Errorf("%s: %v %d: %w", name, f, n, err)
				}
				if err != nil || got != "old" && got != "new" {
					return fmt.Errorf("%s: %v %d: %q, %w", name, f, n, got, err)
				}
				if result == nil && got != "new" {
					return fmt.Errorf("%s: %v %d: reported as done, and is %q", name, f, n, got)
				}
				if err := update(left, want); err != nil {
					return fmt.Errorf("%s: %v %d: run again: %w", name, f, n, err)
				}
				return nil
			}))
		require.Greater(t, struck, 10, name)
	}
}

func TestACrashOfFormatKeepsAValidMeta(t *testing.T) {
	for name, d := range starts(t) {
		d.Record()
		require.NoError(t, Format(d))
		require.NoError(t, d.Trace().Crashes(disktest.Options{Samples: 8, Destroyed: 128},
			func(c *disktest.Crash) error {
				got, err := value(c.Device())
				if errors.Is(err, ErrDamaged) || err == nil && got != "old" {
					return fmt.Errorf("%s: %q, %w", name, got, err)
				}
				return nil
			}))
	}
}
