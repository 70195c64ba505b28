//go:build vm

package proof

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// odd is a disk as others make or damage it. what is what firmware makes of it: "1.1.0" boots, or "nothing".
type odd struct {
	name  string
	do    func(t *testing.T, d *disktest.Disk)
	what  string
	grows int64 // bytes, before that
}

// sector changes one sector.
func sector(lba int64, change func(b []byte)) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) {
		at, b := lba*512, make([]byte, 512)
		if lba < 0 {
			at += d.Size()
		}
		_, err := d.ReadAt(b, at)
		require.NoError(t, err)
		change(b)
		_, err = d.WriteAt(b, at)
		require.NoError(t, err)
	}
}

// both changes both copies of the table alike.
func both(edit func(header, entries []byte) []byte) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) { primary(edit)(t, d); backup(edit)(t, d) }
}

func primary(edit func(header, entries []byte) []byte) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) { require.NoError(t, loadertest.EditGPT(d, 1, edit)) }
}

func backup(edit func(header, entries []byte) []byte) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) { require.NoError(t, loadertest.EditGPT(d, d.Size()/512-1, edit)) }
}

func field64(at int, v uint64) func(header, entries []byte) []byte {
	return func(header, entries []byte) []byte { binary.LittleEndian.PutUint64(header[at:], v); return entries }
}

func entry64(n, at int, v uint64) func(header, entries []byte) []byte {
	return func(_, entries []byte) []byte {
		binary.LittleEndian.PutUint64(entries[(n-1)*128+at:], v)
		return entries
	}
}

// sized gives a table entries of another number and size.
func sized(count, width int) func(header, entries []byte) []byte {
	return func(header, entries []byte) []byte {
		binary.LittleEndian.PutUint32(header[80:], uint32(count))
		binary.LittleEndian.PutUint32(header[84:], uint32(width))
		all := make([]byte, count*width)
		for i := range min(count, 8) {
			copy(all[i*width:], entries[i*128:][:128])
		}
		return all
	}
}

func then(all ...func(*testing.T, *disktest.Disk)) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) {
		for _, do := range all {
			do(t, d)
		}
	}
}

// formatted makes the boot file system anew with mkfs.vfat, with the same files.
func formatted(args ...string) func(*testing.T, *disktest.Disk) {
	return func(t *testing.T, d *disktest.Disk) {
		run := func(name string, args ...string) {
			out, err := exec.Command(name, args...).CombinedOutput()
			require.NoError(t, err, "%s %v: %s", name, args, out)
		}
		dir := t.TempDir()
		was, is, files := filepath.Join(dir, "was"), filepath.Join(dir, "is"), filepath.Join(dir, "files")
		esp := make([]byte, 40<<20)
		_, err := d.ReadAt(esp, 1<<20)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(was, esp, 0o644))
		require.NoError(t, os.WriteFile(is, nil, 0o644))
		require.NoError(t, os.Truncate(is, int64(len(esp))))
		require.NoError(t, os.Mkdir(files, 0o755))
		run("mcopy", "-n", "-s", "-i", was, "::", files)
		run("mkfs.vfat", append(args, is)...)
		for _, name := range []string{"EFI", "loader"} {
			run("mcopy", "-n", "-s", "-i", is, filepath.Join(files, name), "::")
		}
		esp, err = os.ReadFile(is)
		require.NoError(t, err)
		_, err = d.WriteAt(esp, 1<<20)
		require.NoError(t, err)
	}
}

const esp = 1 << 20 / 512 // its first sector; its last is 41 MiB

func odds() []odd {
	zero := func(b []byte) { clear(b) }
	return []odd{
		{"as it was", then(), "1.1.0", 0},
		{"no protective MBR", sector(0, zero), "nothing", 0},
		{"protective MBR that begins at 0", sector(0, func(b []byte) { b[446+8] = 0 }), "nothing", 0},
		{"protective MBR that begins at 2", sector(0, func(b []byte) { b[446+8] = 2 }), "nothing", 0},
		{"protective MBR in the fourth place", sector(0, func(b []byte) {
			copy(b[446+48:],
				b[446:462])
			clear(b[446:462])
		}), "1.1.0", 0},
		{"protective MBR without signature", sector(0, func(b []byte) { b[510] = 0 }), "1.1.0", 0},
		{"protective MBR of another length", sector(0, func(b []byte) { clear(b[446+12 : 446+16]) }), "1.1.0", 0},
		{"first 4 KiB destroyed", func(t *testing.T, d *disktest.Disk) {
			_, err := d.WriteAt(bytes.Repeat([]byte{0xa5, 0x5a, 0x17}, 2000)[:4096], 0)
			require.NoError(t, err)
		}, "nothing", 0},
		{"primary header destroyed", sector(1, zero), "1.1.0", 0},
		{"primary entries destroyed", sector(2, zero), "1.1.0", 0},
		{"both headers destroyed", then(sector(1, zero), sector(-1, zero)), "nothing", 0},
		{"primary destroyed, the disk grew", sector(1, zero), "nothing", 1 << 20},
		{"primary says that it is elsewhere", primary(field64(24, 2)), "1.1.0", 0},
		{"both copies say that they are elsewhere", both(field64(24, 2)), "nothing", 0},
		{"ESP before the usable sectors", both(field64(40, esp+1)), "nothing", 0},
		{"ESP behind the usable sectors", both(field64(48, 41<<11-2)), "nothing", 0},
		{"ESP overlaps another", both(entry64(2, 32, esp+100)), "nothing", 0},
		{"ESP that ends before it begins", both(entry64(1, 40, esp-1)), "nothing", 0},
		{"ESP that firmware is to ignore", both(entry64(1, 48, 2)), "nothing", 0},
		{"another partition outside of the usable sectors", both(entry64(5, 40, 1<<30)), "1.1.0", 0},
		{"64 entries", both(sized(64, 128)), "1.1.0", 0},
		{"entries of 256 bytes", both(sized(32, 256)), "1.1.0", 0},
		{"moved table", both(func(h, e []byte) []byte {
			if binary.LittleEndian.Uint64(h[24:]) == 1 {
				binary.LittleEndian.PutUint64(h[72:], 1000)
			}
			binary.LittleEndian.PutUint64(h[40:], 2048)
			return e
		}), "1.1.0", 0},
		{"backup that names the primary's entries", backup(field64(72, 2)), "1.1.0", 0},
		{"primary destroyed, backup that names the primary's entries", then(backup(field64(72, 2)), sector(1, zero)),
			"1.1.0", 0},
		{"disk a few sectors smaller", then(), "1.1.0", -8 * 512},
		{"backup that belongs to a primary beyond the disk", then(backup(field64(32, 1<<30)), sector(1, zero)),
			"nothing", 0},
		{"FAT32 with few clusters", sector(esp, func(b []byte) { binary.LittleEndian.PutUint32(b[32:], 60000) }),
			"nothing", 0},
		{"FAT32 with just enough clusters", formatted("-F", "32", "-s", "1"), "1.1.0", 0},
		{"FAT16", formatted("-F", "16"), "1.1.0", 0},
		{"FAT16 with large clusters", formatted("-F", "16", "-s", "16"), "1.1.0", 0},
		{"FAT12", formatted("-F", "12", "-s", "64"), "1.1.0", 0},
		{"FAT32 of a later version", sector(esp, func(b []byte) { b[42] = 1 }), "nothing", 0},
		{"FAT32 that is not mirrored", sector(esp, func(b []byte) { b[40] = 0x80 }), "nothing", 0},
		{"FAT32 without signature", sector(esp, func(b []byte) { b[510] = 0 }), "1.1.0", 0},
		{"FAT32 larger than its partition", both(entry64(1, 40, 39<<11-1)), "1.1.0", 0},
	}
}

// What the model says of disks as others make and damage them, OVMF with systemd-boot does.
func TestTheModelAgreesOnOddDisks(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	agree(t, m, odds())
}

// The same of SeaBIOS with GRUB, which goes by other rules.
func TestTheModelAgreesOnOddDisksOfABIOS(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.GRUBBIOS)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	zero := func(b []byte) { clear(b) }
	agree(t, m, []odd{
		{"no protective MBR", sector(0, func(b []byte) { clear(b[446:510]) }), "nothing", 0},
		{"protective MBR that begins at 0", sector(0, func(b []byte) { b[446+8] = 0 }), "1.1.0", 0},
		{"sector 0 without signature", sector(0, func(b []byte) { b[510] = 0 }), "nothing", 0},
		{"primary header destroyed", sector(1, zero), "nothing", 0},
		{"primary entries destroyed", sector(2, zero), "nothing", 0},
		{"primary header with a wrong checksum", sector(1, func(b []byte) { b[60] ^= 1 }), "1.1.0", 0},
		{"backup destroyed", sector(-1, zero), "1.1.0", 0},
		{"ESP outside of the usable sectors", both(field64(40, esp+1)), "1.1.0", 0},
		{"entries of 256 bytes", both(sized(32, 256)), "1.1.0", 0},
		{"FAT32 with few clusters", sector(esp, func(b []byte) { binary.LittleEndian.PutUint32(b[32:], 60000) }),
			"1.1.0", 0},
	})
}

// A disk with sectors of 4096 bytes, from the install on.
func TestTheModelAgreesOnLargeSectors(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	kit.Partitions = func() []partition.Spec {
		return partition.Default(partition.Defaults{EFI: 300 << 20,
			Seed: "proof"})
	}
	m := newMachine(kit, disktest.New(512<<20, 4096), efivar.NewMemory())
	require.NoError(t, m.install("1.1.0", upgrade.InstallOptions{}))
	agree(t, m, []odd{
		{"as installed", then(), "1.1.0", 0},
		{"primary copy destroyed", func(t *testing.T, d *disktest.Disk) {
			_, err := d.WriteAt(make([]byte, 4096), 4096)
			require.NoError(t, err)
		}, "1.1.0", 0},
		{"no protective MBR", func(t *testing.T, d *disktest.Disk) {
			_, err := d.WriteAt(make([]byte, 4096), 0)
			require.NoError(t, err)
		}, "nothing", 0},
	})
}

// sampled reports whether the ith case is left to `make boots`: `make test` boots every third.
func sampled(i int) bool { return i%3 != 0 && os.Getenv("PAWL_LONG") == "" }

func agree(t *testing.T, m *machine, odds []odd) {
	for i, o := range odds {
		if sampled(i) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			c := bootCase{name: o.name, times: 1, kit: m.kit, disk: m.disk.Resized(m.disk.Size() + o.grows),
				vars: efivar.NewMemory()}
			o.do(t, c.disk)
			var err error
			c.model, err = predict.Boot(c.disk.Clone(), efivar.NewMemory(),
				predict.Options{BIOS: m.kit.Loader == loaders.GRUBBIOS})
			require.NoError(t, err)
			got, err := c.boot(t.Context(), t.TempDir(), 6*time.Minute)
			require.NoError(t, err)
			require.Equal(t, got[0], c.says(), "the guest, and the model: %v", c.model)
			require.Contains(t, fmt.Sprint(got[0], " "), o.what+" ")
		})
	}
}
