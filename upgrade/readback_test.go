package upgrade_test

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// cached is a disk behind a cache, as the kernel has one: reads and writes meet the cache, a flush brings to the medium
// what was written before it began, and Direct reads the medium.
type cached struct {
	*disktest.Disk // the cache
	medium         *disktest.Disk
	spoil          func(off int64, p []byte) // what the medium makes of a block that is brought to it
	failSync       int                       // this flush fails; 0: none

	mu     sync.Mutex
	dirty  map[int64]bool // blocks that are written and not flushed
	syncs  int
	reads  int64 // bytes read from the medium
	before int64 // of them, before the last write
	early  error // a read of what was not flushed
	flying int64 // bytes that a flush is about to bring to the medium
	most   int64 // bytes that were not durable at one time
}

const cacheBlock = 512

func newCached(d *disktest.Disk) *cached {
	return &cached{Disk: d, medium: d.Clone(), dirty: map[int64]bool{}, spoil: func(int64, []byte) {}}
}

func (c *cached) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := off; at < off+int64(len(p)); at += cacheBlock {
		c.dirty[at] = true
	}
	if len(p) >= 64<<10 {
		c.before = c.reads
	}
	c.most = max(c.most, c.flying+int64(len(c.dirty))*cacheBlock)
	return c.Disk.WriteAt(p, off)
}

func (c *cached) Sync() error {
	c.mu.Lock()
	covered := c.dirty
	still := map[int64]bool{} // what is written from now on
	c.dirty = still
	c.flying += int64(len(covered)) * cacheBlock
	if c.syncs++; c.syncs == c.failSync {
		c.mu.Unlock()
		return fmt.Errorf("flush %d fails", c.syncs)
	}
	c.mu.Unlock()
	for range 100 {
		runtime.Gosched() // others may write meanwhile, and read too early
	}
	if len(covered)*cacheBlock >= 512<<10 {
		c.awaitWrite()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := make([]byte, cacheBlock)
	for at := range covered {
		if _, err := c.Disk.ReadAt(p, at); err != nil {
			return err
		}
		c.spoil(at, p)
		if _, err := c.medium.WriteAt(p, at); err != nil {
			return err
		}
	}
	c.flying -= int64(len(covered)) * cacheBlock
	return c.Disk.Sync()
}

// awaitWrite gives whoever writes beside a flush the time to do so.
func (c *cached) awaitWrite() {
	for range 50 {
		c.mu.Lock()
		wrote := len(c.dirty) > 0
		c.mu.Unlock()
		if wrote {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *cached) Direct() (io.ReaderAt, error) { return medium{c}, nil }

type medium struct{ *cached }

func (m medium) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := off / cacheBlock * cacheBlock; at < off+int64(len(p)); at += cacheBlock {
		if m.dirty[at] {
			m.early = fmt.Errorf("%d bytes at %d were read back, and %d was not flushed", len(p), off, at)
		}
	}
	m.reads += int64(len(p))
	return m.medium.ReadAt(p, off)
}

// upgradeOn prepares and arms img on a machine whose disk is dev.
func (r *rig) upgradeOn(dev upgrade.Device, img *image.Image, progress func(progress.Event)) error {
	r.t.Helper()
	m, err := upgrade.OpenDevice(dev, upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "1.0.0", Now: virtual.Now,
	})
	require.NoError(r.t, err)
	_, err = m.Apply(r.t.Context(), img, upgrade.Options{Progress: progress})
	return err
}

func TestReadBackGoesOnBesideTheDownload(t *testing.T) {
	r := start(t)
	img := r.large("2.0.0")
	dev := newCached(r.Disk)
	var atWrite, total, last int64
	err := r.upgradeOn(dev, img, func(e progress.Event) {
		if e.Step == progress.StepWrite && e.Done {
			dev.mu.Lock()
			atWrite = dev.before
			dev.mu.Unlock()
		}
		if e.Step == progress.StepVerify && !e.Done && e.Total > 0 {
			require.GreaterOrEqual(t, e.Bytes, last)
			last, total = e.Bytes, e.Total
			require.Contains(t, e.How, "O_DIRECT")
		}
	})
	require.NoError(t, err)
	require.NoError(t, dev.early)
	require.Equal(t, total, last)
	require.GreaterOrEqual(t, dev.reads, total, "every byte comes from the medium")
	require.Less(t, dev.reads, total+8192, "and once")
	require.Greater(t, atWrite, int64(0), "some of it before the last was written")
	require.LessOrEqual(t, dev.most, int64(2<<20), "a power cut costs no more")
	require.Greater(t, dev.most, int64(1<<20), "writing goes on beside a flush")
	r.boots(bootloader.B, "2.0.0")
}

// TestNothingIsArmedThatTheMediumDoesNotHave: the cache is right, and the medium is not, in one byte at a time.
func TestNothingIsArmedThatTheMediumDoesNotHave(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(first, last int64) int64
	}{
		{"in the first block", func(first, _ int64) int64 { return first }},
		{"in the middle", func(first, last int64) int64 { return (first + last) / 2 }},
		{"in the last block", func(_, last int64) int64 { return last }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t)
			img := r.large("2.0.0")
			first, last := r.whereItGoes(img)
			dev := newCached(r.Disk)
			at := c.at(first, last) / cacheBlock * cacheBlock
			spoilt := false
			dev.spoil = func(off int64, p []byte) {
				if off == at {
					p[1] ^= 1
					spoilt = true
				}
			}
			err := r.upgradeOn(dev, img, nil)
			require.True(t, spoilt)
			require.ErrorContains(t, err, "the device does not keep what is written to it")
			require.ErrorContains(t, err, "verify")
			s := r.status()
			require.Equal(t, bootloader.None, s.Loader.Armed)
			require.NotEqual(t, report.Complete, s.Slots[1].Content)
			r.boots(bootloader.A, "1.0.0")
		})
	}
}

// whereItGoes is the first and the last block on the disk that an upgrade to img gives to its UKI, found on a copy.
func (r *rig) whereItGoes(img *image.Image) (first, last int64) {
	r.t.Helper()
	copied := *r
	machine := *r.Machine
	machine.Disk, machine.Vars = r.Disk.Clone(), r.Vars.Clone()
	copied.Machine = &machine
	copied.record()
	copied.upgrade(img)
	for _, op := range copied.Disk.Trace().Ops {
		if len(op.Data) < 64<<10 {
			continue
		}
		if first == 0 {
			first = op.Off
		}
		last = op.Off + int64(len(op.Data)) - cacheBlock
	}
	require.Greater(r.t, last-first, int64(5<<20))
	return first, last - 4096 // its last block may hold nothing but zeros
}

// TestAFlushThatFailsBesideTheDownloadIsFinal: whichever flush fails, nothing is armed.
func TestAFlushThatFailsBesideTheDownloadIsFinal(t *testing.T) {
	r := start(t)
	img := r.large("2.0.0")
	whole := newCached(r.Disk.Clone())
	vars := r.Vars
	r.Vars = vars.Clone()
	require.NoError(t, r.upgradeOn(whole, img, nil))
	for n := 1; n <= whole.syncs; n++ {
		r.Vars = vars.Clone()
		dev := newCached(r.Disk.Clone())
		dev.failSync = n
		err := r.upgradeOn(dev, img, nil)
		require.ErrorContains(t, err, fmt.Sprintf("flush %d fails", n), "of %d", whole.syncs)
		m := &virtual.Machine{Disk: dev.medium, Vars: r.Vars, Boots: r.Boots}
		require.NoError(t, m.Boot())
		require.Equal(t, bootloader.A, m.Last.Slot, "after flush %d of %d failed: %s", n, whole.syncs, m.Last)
	}
	require.Greater(t, whole.syncs, 10)
}

// TestWhatIsLeftWhereItIsIsFlushedBeforeItIsReadBack: a rollback writes no file, and what it goes back to may still be
// in a cache.
func TestWhatIsLeftWhereItIsIsFlushedBeforeItIsReadBack(t *testing.T) {
	r := start(t)
	img := r.large("2.0.0")
	first, _ := r.whereItGoes(img)
	r.upgrade(img)
	r.boots(bootloader.B, "2.0.0")
	_, err := r.Upgrade(t.Context(), r.one, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrTrial)
	r.boots(bootloader.A, "1.0.0") // it fell back; slot B still holds version 2
	dev := newCached(r.Disk)
	p := make([]byte, 64<<10)
	_, err = dev.ReadAt(p, first)
	require.NoError(t, err)
	_, err = dev.WriteAt(p, first) // the same bytes, in the cache only
	require.NoError(t, err)
	m, err := upgrade.OpenDevice(dev, upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "1.0.0", Now: virtual.Now,
	})
	require.NoError(t, err)
	_, err = m.Rollback(t.Context(), upgrade.Options{Force: true}) // for it failed its trial
	require.NoError(t, err)
	require.NoError(t, dev.early)
	require.Greater(t, dev.reads, int64(5<<20), "it is read back")
}

func TestADirectReaderOfAPartition(t *testing.T) {
	d := newCached(disktest.New(virtual.Size, 512))
	l, err := partition.Plan(nil, d.Size(), 512, virtual.Partitions())
	require.NoError(t, err)
	require.NoError(t, partition.Apply(d, l))
	p, err := l.Find("META")
	require.NoError(t, err)
	part := partition.Section(d, p)
	_, err = part.WriteAt(append([]byte("here"), make([]byte, 508)...), 0)
	require.NoError(t, err)
	require.NoError(t, part.Sync())
	r, err := part.(device.Bypass).Direct()
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = r.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, "here", string(got))
	_, err = r.ReadAt(got, l.Bytes(p)-2)
	require.Equal(t, io.EOF, err, "no byte of the next partition")
	_, err = partition.Section(disktest.New(virtual.Size, 512), p).(device.Bypass).Direct()
	require.Error(t, err)
}
