package bootorder_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/disktest"
)

var (
	first  = efivar.HardDrive{Number: 1, First: 2048, Sectors: 81920, GUID: efivar.GUID{1}}
	second = efivar.HardDrive{Number: 1, First: 2048, Sectors: 81920, GUID: efivar.GUID{2}}
)

// ordered is a machine with our loader and a spare copy of it in BootOrder.
func ordered(t *testing.T) bootorder.Order {
	t.Helper()
	disk := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(disk, bootfs.FormatOptions{}))
	f, err := bootfs.Open(disk, bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(t, err)
	require.NoError(t, f.Mkdir(bootloader.LoaderDir))
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", []byte("loader")))
	b := bootorder.Order{Vars: efivar.NewMemory(), FS: f, Partition: first, Loader: `\EFI\BOOT\BOOTX64.EFI`,
		Title: "Pawl"}
	require.NoError(t, b.Ensure(2, true))
	require.NoError(t, b.Spare(bootorder.Copies()[0]))
	option(t, b, 9, efivar.LoadOption{Attributes: efivar.Active, Description: "network", Path: []efivar.Node{
		{Type: 3, Subtype: 11, Data: make([]byte, 33)}, efivar.End()}})
	order(t, b, 0, 1, 2, 9)
	return b
}

func option(t *testing.T, b bootorder.Order, n uint16, o efivar.LoadOption) {
	t.Helper()
	data, err := o.Encode()
	require.NoError(t, err)
	require.NoError(t, b.Vars.Write(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data}))
}

func order(t *testing.T, b bootorder.Order, numbers ...uint16) {
	t.Helper()
	require.NoError(t, b.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeNumbers(numbers...)}))
}

func numbers(t *testing.T, b bootorder.Order) []uint16 {
	t.Helper()
	v, err := b.Vars.Read(efivar.Global("BootOrder"))
	require.NoError(t, err)
	all, err := efivar.DecodeNumbers(v.Data)
	require.NoError(t, err)
	return all
}

// The entry stands behind our starts and the spare copy, and before what could stay; another start and another spare
// copy are put before it.
func TestTheMirrorsEntryIsTheLastOfOurs(t *testing.T) {
	b := ordered(t)
	require.ErrorContains(t, b.Mirrored(second), "no entry for it")
	require.NoError(t, b.Mirror(second, false))
	require.NoError(t, b.Mirrored(second))
	require.Equal(t, []uint16{0, 1, 2, 3, 9}, numbers(t, b))
	o, err := bootorder.Option(b.Vars, 3)
	require.NoError(t, err)
	drive, path, short, ok := o.Target()
	require.Equal(t, second, drive)
	require.Equal(t, `\EFI\BOOT\BOOTX64.EFI`, path)
	require.True(t, short && ok)

	require.NoError(t, b.Ensure(3, false))
	require.NoError(t, b.Spare(bootorder.Copies()[1]))
	require.NoError(t, b.Mirrored(second), "%v", numbers(t, b))
	require.Equal(t, []uint16{0, 1, 4, 2, 3, 9}, numbers(t, b))
	s, err := b.Survey()
	require.NoError(t, err)
	require.Equal(t, 3, s.Starts)
	require.NoError(t, s.Refuse(false), "an upgrade goes on")
}

func TestAnEntryThatSomebodyMoved(t *testing.T) {
	b := ordered(t)
	require.NoError(t, b.Mirror(second, false))
	order(t, b, 0, 1, 2, 9, 3)
	require.ErrorContains(t, b.Mirrored(second), "not directly behind")
	require.NoError(t, b.Mirror(second, false))
	require.Equal(t, []uint16{0, 1, 2, 9, 3}, numbers(t, b), "a person's order is left")
	require.NoError(t, b.Mirror(second, true))
	require.Equal(t, []uint16{0, 1, 2, 3, 9}, numbers(t, b))
	order(t, b, 3, 0, 1, 2, 9)
	require.Error(t, b.Mirrored(second))
	s, err := b.Survey()
	require.NoError(t, err)
	require.ErrorIs(t, s.Refuse(false), bootloader.ErrForeign, "what starts the mirror first is in the way")
	require.ErrorIs(t, b.Mirror(second, true), bootloader.ErrForeign)
}

// A mirror on another disk takes the entry of the one before over; and one that ends leaves nothing.
func TestThereIsOneEntryForAMirror(t *testing.T) {
	b := ordered(t)
	require.NoError(t, b.Mirror(second, false))
	third := second
	third.GUID[0], third.Number = 3, 7
	require.ErrorContains(t, b.Mirrored(third), "another partition")
	require.NoError(t, b.Mirror(third, false))
	require.NoError(t, b.Mirrored(third))
	require.Equal(t, []uint16{0, 1, 2, 3, 9}, numbers(t, b))
	require.NoError(t, b.ForgetMirror())
	require.Equal(t, []uint16{0, 1, 2, 9}, numbers(t, b))
	_, err := bootorder.Option(b.Vars, 3)
	require.Error(t, err)
	require.NoError(t, b.ForgetMirror())
}
