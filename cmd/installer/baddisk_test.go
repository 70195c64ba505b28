package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// dosTable is a disk's first sector as fdisk writes it: one Linux partition.
func dosTable() []byte {
	b := make([]byte, 512)
	e := b[446:]
	e[4] = 0x83
	binary.LittleEndian.PutUint32(e[8:], 2048)
	binary.LittleEndian.PutUint32(e[12:], 40960)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// otherTable makes the box's disk one with a GPT of somebody else.
func (b *box) otherTable() {
	b.t.Helper()
	b.writeDisk(make([]byte, virtual.Size))
	raw, err := disk.Open(b.disk)
	require.NoError(b.t, err)
	layout, err := partition.Plan(nil, raw.Size(), 512, []partition.Spec{{Label: "root", Type: partition.TypeLinux,
		GUID: uuid.New(), Size: 8 << 20}})
	require.NoError(b.t, err)
	require.NoError(b.t, partition.Apply(raw, layout))
	require.NoError(b.t, raw.Close())
}

// Each of these is no disk to upgrade. The command says what it is, exits with 5, or with 2 where there is nothing of
// that name, and changes nothing.
func TestBadDisks(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	esp, _ := f.place("EFI")
	metaAt, metaSize := f.place("META")
	cases := []struct {
		name string
		make func(b *box)
		code int
		says []string
	}{
		{"nothing there", func(b *box) { b.disk += ".gone" }, exitUsage, []string{"--disk", "no such file"}},
		{"a directory", func(b *box) { b.disk = b.vars }, exitDisk, []string{"it is a directory", "name another disk"}},
		{"/dev/null", func(b *box) { b.disk = os.DevNull }, exitDisk, []string{"it is a character device",
			"name another disk"}},
		{"a text file", func(b *box) { b.disk = b.osr }, exitDisk, []string{"bytes, want at least",
			"name another disk"}},
		{"an empty file", func(b *box) { b.writeDisk(nil) }, exitDisk, []string{"0 bytes", "name another disk"}},
		{"too small for a table", func(b *box) { b.writeDisk(make([]byte, 64<<10)) }, exitDisk,
			[]string{"65536 bytes, want at least 1048576"}},
		{"empty", func(b *box) { b.writeDisk(make([]byte, 48<<20)) }, exitDisk, []string{"no partition table",
			"installer install"}},
		{"a DOS table", func(b *box) { b.writeDisk(append(dosTable(), make([]byte, 48<<20)...)) }, exitDisk,
			[]string{"DOS (MBR) partition table with 1 partitions", "name another disk"}},
		{"an ext4 file system without a table", func(b *box) {
			b.writeDisk(make([]byte, 48<<20))
			b.patch(1080, []byte{0x53, 0xef})
		}, exitDisk, []string{"ext2, ext3 or ext4 file system"}},
		{"another system's GPT", (*box).otherTable, exitDisk, []string{"EFI", "no such partition",
			"name the disk that the machine boots from"}},
		{"both copies of the table damaged", func(b *box) {
			b.patch(512+16, []byte{0xff})
			b.patch(virtual.Size-512+16, []byte{0xff})
		}, exitDisk, []string{"both copies of the partition table are damaged", "restore the table"}},
		{"no file system on the boot partition", func(b *box) { b.patch(esp, make([]byte, 64<<10)) }, exitDisk,
			[]string{"boot sector", "fsck.vfat"}},
		{"another file system on the boot partition", func(b *box) { b.patch(esp, bytes.Repeat([]byte{0xa5}, 64<<10)) },
			exitDisk, []string{"boot sector", "fsck.vfat"}},
		{"META garbage", func(b *box) { b.patch(metaAt, bytes.Repeat([]byte{0x5a}, int(metaSize))) }, exitDisk,
			[]string{"META", "installer meta reset"}},
		{"META with an attempt that is none", func(b *box) {
			raw, err := disk.Open(b.disk)
			require.NoError(b.t, err)
			layout, err := partition.Read(raw)
			require.NoError(b.t, err)
			p, err := layout.Find("META")
			require.NoError(b.t, err)
			store, err := meta.Open(partition.Section(raw, p))
			require.NoError(b.t, err)
			require.NoError(b.t, store.Set(meta.TagAttempt, []byte("not JSON")))
			require.NoError(b.t, raw.Close())
		}, exitDisk, []string{"META tag 0x50", "not as Pawl writes it", "installer meta reset"}},
		{"META zeroed", func(b *box) { b.patch(metaAt, make([]byte, metaSize)) }, exitDisk,
			[]string{"META", "installer meta reset"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := f.box(t)
			c.make(b)
			var before []byte
			if info, err := os.Stat(b.disk); err == nil && info.Mode().IsRegular() {
				before = b.content()
			}
			vars := b.values()
			status, out := b.on("upgrade", "--image", two)
			t.Log(out)
			require.Equal(t, c.code, status, out)
			for _, say := range c.says {
				require.Contains(t, out, say)
			}
			if !strings.HasPrefix(c.name, "META") {
				require.Contains(t, out, b.disk)
			}
			if before != nil {
				b.unchanged(before, vars)
			}
		})
	}
}

func TestMetaResetIsTheWayOutOfGarbage(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	at, size := f.place("META")
	b.patch(at, bytes.Repeat([]byte{0x5a}, int(size)))

	status, out := b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "META")
	status, out = b.on("confirm")
	require.Zero(t, status, "what runs can be confirmed without META: %s", out)
	status, out = b.on("meta reset")
	require.Zero(t, status, out)
	status, out = b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{}))
	require.Zero(t, status, out)
	require.True(t, b.boot().Trial)
}

// A table of which one copy is damaged is taken as it is; an upgrade does not write tables.
func TestOneDamagedTableIsNoHindrance(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	b.patch(512+16, []byte{0xff})
	status, out := b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{}))
	require.Zero(t, status, out)
	require.Equal(t, f.disk[512+17:4096], b.content()[512+17:4096])
}

// kernelOnly is what an image without a loader holds.
func kernelOnly() []pack.Asset {
	return []pack.Asset{pack.Data(pack.UKIAsset, loadertest.Stub())}
}

// An install refuses what it would destroy, and what it cannot finish, before it writes.
func TestBadInstalls(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	without := f.reference("3.0.0", virtual.Spec{Assets: kernelOnly()})
	blank := func(size int) func(b *box) { return func(b *box) { b.writeDisk(make([]byte, size)) } }
	big := func(b *box) { // sparse: the default layout wants more than a GiB
		b.writeDisk(nil)
		require.NoError(b.t, os.Truncate(b.disk, 2<<30))
	}
	cases := []struct {
		name  string
		make  func(b *box)
		image string
		code  int
		says  []string
	}{
		{"a disk in use", func(*box) {}, two, exitRefused, []string{"it has 5 partitions", "force"}},
		{"a DOS table", func(b *box) { b.writeDisk(append(dosTable(), make([]byte, 48<<20)...)) }, two, exitRefused,
			[]string{"DOS (MBR) partition table with 1 partitions", "force"}},
		{"both copies of the table damaged", func(b *box) {
			b.patch(512+16, []byte{0xff})
			b.patch(virtual.Size-512+16, []byte{0xff})
		}, two, exitRefused, []string{"both copies of the partition table are damaged", "force"}},
		{"too small", blank(48 << 20), two, exitDisk, []string{"partition EFI needs 1073741824 bytes",
			"use a larger disk"}},
		{"far too small", blank(64 << 10), two, exitDisk, []string{"65536 bytes, want at least"}},
		{"a directory", func(b *box) { b.disk = b.vars }, two, exitDisk, []string{"it is a directory"}},
		{"/dev/null", func(b *box) { b.disk = os.DevNull }, two, exitDisk, []string{"it is a character device"}},
		{"nothing there", func(b *box) { b.disk += ".gone" }, two, exitUsage, []string{"--disk", "no such file"}},
		{"an image without a loader", big, without, exitImage, []string{"no systemd-boot.efi in it", "installer pack"}},
		{"a container's image", big, f.foreign("busybox", map[string][]byte{"bin/busybox": []byte("x")}), exitImage,
			[]string{"no boot assets inside", "installer pack"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := f.box(t)
			c.make(b)
			before := stamp(t, b.disk)
			status, out := run(t, "install", "--image", c.image, "--disk", b.disk)
			t.Log(out)
			require.Equal(t, c.code, status, out)
			for _, say := range c.says {
				require.Contains(t, out, say)
			}
			require.Equal(t, before, stamp(t, b.disk))
		})
	}
}

// stamp stands for the content of a file: its size and its digest, or, of a large file of nothing but holes, that it
// still takes no room at all.
func stamp(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "no file"
	}
	if info.Size() > 64<<20 {
		return fmt.Sprintf("%d bytes in %d blocks", info.Size(), info.Sys().(*syscall.Stat_t).Blocks)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return fmt.Sprintf("%d bytes %x", len(data), sha256.Sum256(data))
}

// A disk image that cannot be made leaves no file.
func TestBadDiskImages(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	tampered := f.broken("2.0.1", "layer", 0.5, false)
	there := filepath.Join(t.TempDir(), "there")
	require.NoError(t, os.WriteFile(there, []byte("precious"), 0o600))
	gone := filepath.Join(t.TempDir(), "disk.raw")
	cases := []struct {
		name, image, output, size string
		code                      int
		says                      []string
	}{
		{"a file that is there", two, there, "2GiB", exitUsage, []string{there, "choose another name"}},
		{"no such directory", two, gone + "/x", "2GiB", exitUsage, []string{"--output", "no such file"}},
		{"too small", two, gone, "100MiB", exitDisk, []string{"partition EFI needs", "give a larger --size"}},
		{"no size", two, gone, "big", exitUsage, []string{"--size", `"big"`, "K, M, G or T"}},
		{"negative size", two, gone, "-4G", exitUsage, []string{"--size", "K, M, G or T"}},
		{"tampered image", tampered, gone, "2GiB", exitImage, []string{"layer 1 of 2", "push the image again"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, out := run(t, "image", "--image", c.image, "--output", c.output, "--size", c.size)
			t.Log(out)
			require.Equal(t, c.code, status, out)
			for _, say := range c.says {
				require.Contains(t, out, say)
			}
			if c.output != there {
				require.NoFileExists(t, c.output)
			}
		})
	}
	data, err := os.ReadFile(there)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))
}

// A large image that was tampered with cannot be told before its layer ends, and on an empty disk nothing can be kept
// aside. So the disk is left laid out, boots nothing and says why, and the next install does it anew, without --force.
func TestInstallOfATamperedImageLeavesNothingThatBoots(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	b.writeDisk(nil)
	require.NoError(t, os.Truncate(b.disk, 2<<30))
	broken := f.reference("2.0.1", virtual.Spec{Size: 8 << 20})
	f.damage(f.blob(broken, "layer"), 0.9, false)
	status, out := run(t, "install", "--image", broken, "--disk", b.disk)
	require.Equal(t, exitImage, status, out)
	b.writeVars(nil)
	stuck, _ := b.model()
	require.NotEmpty(t, stuck.Stuck)

	status, out = b.on("status")
	require.NotZero(t, status, out)
	require.Contains(t, out, "an install of 2.0.1 that began on ")
	require.Contains(t, out, "did not finish: write: ")

	two := f.reference("2.0.0", virtual.Spec{})
	status, out = run(t, "install", "--image", two, "--disk", b.disk)
	require.Zero(t, status, out)
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
}

// What --force may lose is gone: no byte of an old file system is found again in a new partition.
func TestForcedInstallLosesWhatWasThere(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	for name, prepare := range map[string]func(b *box){
		"another system's GPT": (*box).otherTable,
		"a DOS table":          func(b *box) { b.writeDisk(append(dosTable(), make([]byte, 48<<20-512)...)) },
		"a file system": func(b *box) {
			b.writeDisk(make([]byte, 48<<20))
			b.patch(1080, []byte{0x53, 0xef})
		},
		"a damaged table": func(b *box) {
			b.patch(512+16, []byte{0xff})
			b.patch(virtual.Size-512+16, []byte{0xff})
		},
		"a Pawl disk": func(*box) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.box(t)
			prepare(b)
			require.NoError(t, os.Truncate(b.disk, 2<<30))
			const state = 1<<20 + 1<<30 + 2<<20 // where the default layout puts it
			b.patch(state, []byte("what was there"))
			status, out := run(t, "install", "--image", two, "--disk", b.disk, "--force")
			require.Zero(t, status, out)
			file, err := os.Open(b.disk)
			require.NoError(t, err)
			defer file.Close()
			left := make([]byte, 14)
			_, err = file.ReadAt(left, state)
			require.NoError(t, err)
			require.Equal(t, make([]byte, 14), left)
			b.writeVars(nil)
			boots, _ := b.model()
			require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
		})
	}
}
