package proof

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// What `installer disk repair` and `disk grow` do to the table is cut at every write, and the model of firmware and
// loader says what boots: the default, always. A machine that did not boot before may not boot after a cut.
//
// One block is another matter: a disk of 512-byte sectors whose blocks have 4096 has the protective MBR in one with the
// primary header. Where a cut destroys that very block (old or new it may be), firmware finds nothing, whatever the
// order of writes is; the same holds for GRUB on a BIOS and the primary copy alone, since it looks at no other. So
// these are counted, and only operations that have to write the primary copy have any.
func TestACutOfTheTableLeavesWhatBoots(t *testing.T) {
	repair := func(l partition.Layout, size int64) (partition.Layout, error) {
		return partition.Plan(&l, size, l.SectorSize, nil)
	}
	zero := func(at int64) func(*disktest.Disk) *disktest.Disk {
		return func(d *disktest.Disk) *disktest.Disk {
			if at < 0 {
				at += d.Size()
			}
			_, _ = d.WriteAt(make([]byte, 512), at)
			_ = d.Sync()
			return d
		}
	}
	grow := func(d *disktest.Disk) *disktest.Disk { return d.Resized(d.Size() + 4<<20) }
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBBIOS} {
		kit, err := TinyKit(t.Context(), t.TempDir(), loader)
		require.NoError(t, err)
		m, err := base(kit, bootloader.A)
		require.NoError(t, err)
		o := predict.Options{BIOS: loader == loaders.GRUBBIOS, NoDigest: true, SectorReads: true}
		essential := int64(1) // sectors that have no second copy: the protective MBR
		if o.BIOS {
			essential = 34 // and the primary copy
		}
		starts := func(d device.Reader) bool {
			vars := m.vars.Clone()
			out, err := predict.Boot(predict.NewOverlay(d), vars, o)
			return err == nil && out.Slot == bootloader.A
		}
		for name, c := range map[string]struct {
			start   func(*disktest.Disk) *disktest.Disk
			plan    func(partition.Layout, int64) (partition.Layout, error)
			primary bool // it has to write the primary copy
		}{
			"repair of the backup header":   {zero(-512), repair, false},
			"repair of the backup entries":  {zero(-33 * 512), repair, false},
			"repair of the primary header":  {zero(512), repair, true},
			"repair of the primary entries": {zero(1024), repair, true},
			"repair of the protective MBR": {func(d *disktest.Disk) *disktest.Disk {
				first := make([]byte, 512)
				_, _ = d.ReadAt(first, 0)
				clear(first[446:510])
				_, _ = d.WriteAt(first, 0)
				return d
			}, repair, true},
			"repair after the disk grew": {grow, repair, true},
			"grow":                       {grow, partition.Grow, true},
			"add a pair":                 {grow, addPair, true},
		} {
			for _, block := range []int{512, 4096} {
				t.Run(fmt.Sprintf("%s/%s/blocks of %d", loader, name, block), func(t *testing.T) {
					d := c.start(m.disk.Clone())
					was, before := d.Clone(), starts(d)
					l, err := partition.Read(d)
					require.NoError(t, err)
					after, err := c.plan(l, d.Size())
					require.NoError(t, err)
					d.Record()
					require.NoError(t, partition.Apply(d, after))
					require.True(t, starts(d))
					destroyed := 0
					err = d.Trace().Crashes(disktest.Options{Block: block, Workers: 1, Destroyed: 64, Samples: 64,
						Exhaustive: 6}, func(crash *disktest.Crash) error {
						left := crash.Device()
						switch block, _ := crash.Destroyed(); {
						case starts(left) || !before && !crash.Finished:
						case block && c.primary && lost(left, was, d, essential):
							destroyed++
						default:
							return errors.New("nothing boots")
						}
						table, err := partition.Read(left)
						if err != nil && crash.Number%4 == 0 {
							return fmt.Errorf("and the table is lost: %w", err)
						}
						if n := halves(table); err == nil && n == 1 || crash.Finished && n != halves(after) {
							return fmt.Errorf("%d halves of a pair", n)
						}
						return nil
					})
					require.NoError(t, err)
					if before && c.primary && block == 4096 {
						require.NotZero(t, destroyed)
					}
					if !c.primary || loader == loaders.SystemdBoot && block == 512 {
						require.Zero(t, destroyed)
					}
				})
			}
		}
	}
}

// addPair is what "installer disk add" does.
func addPair(l partition.Layout, size int64) (partition.Layout, error) {
	return partition.Plan(&l, size, l.SectorSize, partition.Pair{Image: "root", Size: 1 << 20}.Specs(nil, "added"))
}

// halves is how many halves of its pair a table has.
func halves(l partition.Layout) (n int) {
	for _, label := range []string{"ROOT-A", "ROOT-B"} {
		if _, err := l.Find(label); err == nil {
			n++
		}
	}
	return n
}

// lost reports whether one of the first n sectors cannot be read, or holds neither what it held before nor what it is
// to hold.
func lost(left, before, after *disktest.Disk, n int64) bool {
	for at := int64(0); at < n*512; at += 512 {
		var b [3][512]byte
		for i, d := range []*disktest.Disk{before, after, left} {
			if _, err := d.ReadAt(b[i][:], at); err != nil {
				return true
			}
		}
		if b[2] != b[0] && b[2] != b[1] {
			return true
		}
	}
	return false
}

// An install over a disk on which systems of ours were, and whose table somebody zapped, is cut at every write: nothing
// boots then, or what is installed, and never what was there before.
func TestACutOfAnInstallOverAFormerLife(t *testing.T) {
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBBIOS} {
		t.Run(loader, func(t *testing.T) {
			kit, err := TinyKit(t.Context(), t.TempDir(), loader)
			require.NoError(t, err)
			m, err := base(kit, bootloader.B) // which runs another version than the one that is installed
			require.NoError(t, err)
			d := m.disk.Clone()
			for _, at := range []int64{0, d.Size() - 34*512} {
				_, err := d.WriteAt(make([]byte, 34*512), at)
				require.NoError(t, err)
			}
			off := newMachine(kit, d.Clone(), efivar.NewMemory())
			off.disk.Record()
			require.NoError(t, off.install("1.1.0", upgrade.InstallOptions{}))
			firmware := predict.Options{BIOS: loader == loaders.GRUBBIOS, SectorReads: true}
			o := disktest.Options{Workers: 1, Destroyed: 16, Samples: 6, Exhaustive: 3}
			installed := 0
			err = off.disk.Trace().Crashes(o, func(crash *disktest.Crash) error {
				out, err := predict.Boot(predict.NewOverlay(crash.Device()), efivar.NewMemory(), firmware)
				switch {
				case err != nil:
					return err
				case out.Stuck != "":
					if crash.Finished {
						return errors.New(out.Stuck)
					}
				case out.Slot != bootloader.A || kit.Version(out.Digest) != "1.1.0":
					return fmt.Errorf("%v boots", out)
				default:
					installed++
				}
				return nil
			})
			require.NoError(t, err)
			require.NotZero(t, installed)
		})
	}
}
