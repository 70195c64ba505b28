package bootfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// tiny is a volume on which a crash disk takes a fraction of a millisecond to judge. It has eight blocks of each table.
var tiny = shape{unit: 512, sector: 512, perCluster: 1, reserved: 32, tables: 2, perTable: 64, clusters: 8000}

func inB(path string) bool    { return path == "EFI/pawl/B" || strings.HasPrefix(path, "EFI/pawl/B/") }
func notInB(path string) bool { return !inB(path) }
func all(string) bool         { return true }

var (
	installs     = map[shape]*disktest.Disk{}
	installsLock sync.Mutex
)

// installed is a disk with loader files and two complete slots. The slots' directories nearly fill a cluster.
func installed(t testing.TB, s shape) *disktest.Disk {
	installsLock.Lock()
	defer installsLock.Unlock()
	if installs[s] == nil {
		installs[s] = install(t, s)
	}
	return installs[s].Clone()
}

func install(t testing.TB, s shape) *disktest.Disk {
	dev := disktest.New(s.size(), s.unit)
	s.make(dev)
	s.soil(dev)
	f := reopen(t, dev)
	for _, dir := range []string{"EFI/BOOT", "loader/entries", "EFI/pawl/A", "EFI/pawl/B"} {
		require.NoError(t, f.Mkdir(dir))
	}
	for i, path := range []string{
		"EFI/BOOT/BOOTX64.EFI", "loader/loader.conf", "loader/entries/pawl-a.conf",
		"EFI/pawl/A/os.efi", "EFI/pawl/A/initrd", "EFI/pawl/A/manifest.json",
		"EFI/pawl/B/os.efi", "EFI/pawl/B/initrd", "EFI/pawl/B/manifest.json",
	} {
		n := []int{3000, 200, 512}[i%3]
		require.NoError(t, f.WriteFile(path, content(uint64(i), n)))
	}
	noProblems(t, f)
	return dev
}

// wide has clusters of eight sectors, so a directory of one cluster has several.
var wide = shape{unit: 512, sector: 512, perCluster: 8, reserved: 32, tables: 2, perTable: 64, clusters: 8000}

func (o operation) installed(t testing.TB) *disktest.Disk {
	if o.shape != nil {
		return installed(t, *o.shape)
	}
	return installed(t, tiny)
}

// record runs the operation on a fresh disk; the variable "returned" is set when it returned.
func (o operation) record(t testing.TB) (*disktest.Trace, *view) {
	dev := o.installed(t)
	f := reopen(t, dev)
	if o.start != nil {
		o.start(t, dev, f)
		f = reopen(t, dev)
	}
	before, err := readView(dev, nil)
	require.NoError(t, err)
	dev.Record()
	if o.killed != nil {
		o.killed(t, dev, f)
		f = reopen(t, dev)
	}
	require.NoError(t, o.do(f))
	dev.Atomic("returned", []byte("yes"))
	return dev.Trace(), before
}

// judge holds a crash disk on which no block was destroyed against what the operation may leave.
func (o operation) judge(before *view, dev *disktest.Disk, returned bool) error {
	after, err := readView(dev, nil)
	if err != nil {
		return err
	}
	known := func(path string) bool { _, ok := o.may[path]; return ok }
	if err := before.same(after, func(path string) bool { return !known(path) }); err != nil {
		return err
	}
	for _, path := range o.dirs {
		if returned && !after.dirs[path] {
			return fmt.Errorf("%s is not there", path)
		}
	}
	for path, contents := range o.may {
		data, ok := after.files[path]
		if returned {
			contents = [][]byte{o.must[path]}
		}
		fits := false
		for _, want := range contents {
			fits = fits || !ok && want == nil || ok && want != nil && bytes.Equal(data, want)
		}
		if !fits {
			return fmt.Errorf("%s has neither its old content nor its new one", path)
		}
	}
	return nil
}

// again runs the operation on what a cut left, as an upgrade would: the slot is cleared first.
func (o operation) again(before *view, dev *disktest.Disk) error {
	f, err := bootfs.Open(dev, bootfs.Options{Zones: slotZones, Now: clock})
	if err != nil {
		return err
	}
	if o.lose || strings.HasPrefix(o.name, "overwrite") {
		if err := o.do(f); err != nil {
			return fmt.Errorf("again: %w", err)
		}
	} else {
		if err := f.Clear("EFI/pawl/B"); err != nil {
			return fmt.Errorf("again: %w", err)
		}
		if err := f.WriteFile("EFI/pawl/B/os.efi", newData); err != nil {
			return fmt.Errorf("again: %w", err)
		}
		if data, err := f.ReadFile("EFI/pawl/B/os.efi"); err != nil || !bytes.Equal(data, newData) {
			return fmt.Errorf("again: read back: %v", err)
		}
	}
	after, err := readView(dev, nil)
	if err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if err := before.same(after, func(path string) bool { return notInB(path) && o.may[path] == nil }); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	problems, err := f.Check()
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("again: %v", problems)
	}
	return err
}

// long reports whether the long sample was asked for.
func long() bool { return os.Getenv("PAWL_LONG") != "" }

func TestEveryCutLeavesTheOldOrTheNew(t *testing.T) {
	for _, o := range operations() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			trace, before := o.record(t)
			n := 0
			err := trace.Crashes(sample(disktest.Options{NoDestroyed: true}), func(c *disktest.Crash) error {
				n++
				_, returned := c.Atomics()["returned"]
				dev := c.Device()
				if err := o.judge(before, dev, returned); err != nil {
					return err
				}
				return o.again(before, dev)
			})
			require.NoError(t, err)
			t.Logf("%d operations, %d crash disks", len(trace.Ops), n)
		})
	}
}

// sample keeps the plain run short; PAWL_LONG=1 makes the full set.
func sample(o disktest.Options) disktest.Options {
	if !long() {
		o.Exhaustive, o.Destroyed, o.Samples = 7, 2, 16
	}
	return o
}

func TestADestroyedBlockCostsOnlyTheTarget(t *testing.T) {
	for _, o := range operations() {
		if o.lose {
			continue
		}
		for _, block := range []int{512, 4096} {
			t.Run(fmt.Sprintf("%s/%d", o.name, block), func(t *testing.T) {
				t.Parallel()
				trace, before := o.record(t)
				err := trace.Crashes(sample(disktest.Options{Block: block}), func(c *disktest.Crash) error {
					dev := c.Device()
					after, err := readView(dev, func(path string) bool { return inB(path) || o.may[path] != nil })
					if err != nil {
						return err
					}
					if err := before.same(after, func(path string) bool {
						return notInB(path) &&
							o.may[path] == nil
					}); err != nil {
						return err
					}
					return o.again(before, dev)
				})
				require.NoError(t, err)
			})
		}
	}
}

// Each flush of an operation is needed: without it some cut leaves what must not be.
func TestWithoutAnyFlushACutIsSeen(t *testing.T) {
	for _, o := range operations() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			trace, before := o.record(t)
			for i, flush := range trace.Flushes() {
				if i == 0 || i == 1 && o.killed != nil && trace.Flushes()[0] == 0 {
					continue // makes what Open read durable; here it was
				}
				err := trace.DropFlush(flush).Crashes(disktest.Options{NoDestroyed: true, Exhaustive: 10, Seed: 1},
					func(c *disktest.Crash) error {
						_, returned := c.Atomics()["returned"]
						return o.judge(before, c.Device(), returned)
					})
				require.Error(t, err, "flush %d of %d, before %v", i, len(trace.Flushes()),
					trace.Ops[min(flush+1, len(trace.Ops)-1)])
			}
		})
	}
}

func TestAChangeWritesNoBlockOfAnotherZone(t *testing.T) {
	for _, o := range operations() {
		if o.lose {
			continue
		}
		trace, before := o.record(t)
		mine := func(path string) bool { return inB(path) || o.may[path] != nil }
		foreign := before.blocks(func(path string) bool { return !mine(path) })
		foreign[0] = "boot sector"
		foreign[before.fat[0]/4096], foreign[before.fat[1]/4096] = "start of the first table",
			"start of the second table"
		for _, op := range trace.Ops {
			for block := op.Off / 4096; op.Action == disktest.Write && block*4096 < op.Off+int64(len(op.Data)); block++ {
				require.Empty(t, foreign[block], "%s: %v", o.name, op)
			}
		}
	}
}

func TestAKilledRunsLeftoversAreFreeAgain(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	free, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	dev.Record()
	require.NoError(t, f.WriteFile("EFI/pawl/B/new", content(1, 300_000)))
	trace := dev.Trace()
	// All writes but the entry's: the tables are full of clusters that nobody reaches.
	last := trace.Flushes()[len(trace.Flushes())-2]
	killed := trace.After(last + 1)
	f = reopen(t, killed)
	problems, err := f.Check()
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "belong to no file")
	_, err = f.Stat("EFI/pawl/B/new")
	require.ErrorIs(t, err, fs.ErrNotExist)
	now, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	require.Equal(t, free, now)
	require.NoError(t, f.WriteFile("EFI/pawl/B/small", newData))
	noProblems(t, f)
}
