package grub_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/partition/disktest"
)

func TestInstallBIOS(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	before := make([]byte, 512)
	_, err = m.Disk.ReadAt(before, 0)
	require.NoError(t, err)
	boot, core := loadertest.GRUBCore()
	copy(boot[440:], "not to be written")
	b := grub.BIOS{Boot: boot, Core: core, First: 64, Sectors: 1024, Active: true}
	m.Disk.Record()
	require.NoError(t, grub.InstallBIOS(m.Disk, b))
	ops := m.Disk.Trace().Ops
	require.Len(t, ops, 4, "core image, flush, boot code, flush")
	require.Equal(t, int64(64*512), ops[0].Off)
	require.Equal(t, int64(0), ops[2].Off)

	first := ops[2].Data
	le := binary.LittleEndian
	require.Len(t, first, 512)
	require.Equal(t, uint64(64), le.Uint64(first[0x5c:]))
	require.Equal(t, []byte{0x90, 0x90}, first[0x66:0x68])
	require.Equal(t, byte(0x80), first[446])
	require.Equal(t, before[440:446], first[440:446], "the disk's signature")
	require.Equal(t, before[447:], first[447:], "the partition table")
	image := ops[0].Data
	require.Equal(t, uint64(65), le.Uint64(image[500:]))
	require.Equal(t, uint16(len(image)/512-1), le.Uint16(image[508:]))
	require.Equal(t, uint16(0x820), le.Uint16(image[510:]))
	require.Equal(t, core[512:], image[512:len(core)])

	m.Disk.Record()
	require.NoError(t, grub.InstallBIOS(m.Disk, b))
	for _, op := range m.Disk.Trace().Ops {
		require.Equal(t, disktest.Flush, op.Action, "nothing is written twice")
	}
	b.Active = false
	require.NoError(t, grub.InstallBIOS(m.Disk, b))
	_, err = m.Disk.ReadAt(first, 0)
	require.NoError(t, err)
	require.Equal(t, before[446:], first[446:])
}

func TestInstallBIOSRefuses(t *testing.T) {
	boot, core := loadertest.GRUBCore()
	good := grub.BIOS{Boot: boot, Core: core, First: 64, Sectors: 1024}
	for name, change := range map[string]func(b *grub.BIOS){
		"no boot.img":        func(b *grub.BIOS) { b.Boot = nil },
		"another boot.img":   func(b *grub.BIOS) { b.Boot = make([]byte, 512) },
		"no core image":      func(b *grub.BIOS) { b.Core = core[:512] },
		"another core image": func(b *grub.BIOS) { b.Core = make([]byte, 4096) },
		"no room":            func(b *grub.BIOS) { b.Sectors = 2 },
		"the table's place":  func(b *grub.BIOS) { b.First = 1 },
	} {
		m, err := loadertest.NewMachine(512)
		require.NoError(t, err)
		b := good
		change(&b)
		m.Disk.Record()
		require.Error(t, grub.InstallBIOS(m.Disk, b), name)
		require.Empty(t, m.Disk.Trace().Ops, name)
	}
	require.ErrorContains(t, grub.InstallBIOS(disktest.New(1<<20, 4096), good), "sectors of 4096")
	require.ErrorContains(t, grub.InstallBIOS(disktest.New(1<<20, 512), good), "protective MBR")
}

func TestInstallRefusesWhatIsNoLoader(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	f, err := m.FS()
	require.NoError(t, err)
	require.ErrorContains(t, grub.Install(f, []byte("text")), "no EFI image")
	l, err := grub.New(grub.Config{FS: f, Partition: m.Partition})
	require.NoError(t, err)
	require.NoError(t, f.Remove("grub/grub.cfg"))
	_, err = l.State()
	require.ErrorIs(t, err, bootloader.ErrNotFound)
	require.NoError(t, f.WriteFile("grub/grub.cfg", []byte("# a distribution's\n")))
	_, err = l.State()
	require.ErrorIs(t, err, bootloader.ErrNotFound)
}
