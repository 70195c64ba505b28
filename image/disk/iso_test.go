package disk

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// All but the descriptors is the disk, and the boot catalog's words come to zero.
func TestAnISOIsTheDisk(t *testing.T) {
	data := content(16 << 20)
	catalogs := map[string]bool{}
	for _, by := range []WriteOptions{{}, {BIOS: true}, {Both: true}} {
		o := when
		o.BIOS, o.Both, o.Name = by.BIOS, by.Both, "os-1.0 ä"
		var b bytes.Buffer
		require.NoError(t, FileType{Format: ISO}.Write(t.Context(), &b, memory{bytes.NewReader(data), 512}, o))
		got := b.Bytes()
		require.Len(t, got, len(data))
		require.True(t, bytes.Equal(data[:isoFirst*isoSector], got[:isoFirst*isoSector]))
		require.True(t, bytes.Equal(data[isoEnd*isoSector:], got[isoEnd*isoSector:]))
		require.Equal(t, "OS_1_0__", string(bytes.TrimRight(got[isoFirst*isoSector+40:][:32], " ")))
		var sum uint16
		for i := 0; i < 32; i += 2 {
			sum += binary.LittleEndian.Uint16(got[isoCatalog*isoSector+i:])
		}
		require.Zero(t, sum)
		catalogs[string(got[isoCatalog*isoSector:][:128])] = true
	}
	require.Len(t, catalogs, 3)
}

func TestDisksThatAreNoISO(t *testing.T) {
	data := content(16 << 20)
	taken := bytes.Clone(data)
	taken[40_000] = 1
	for name, c := range map[string]struct {
		data []byte
		efi  Area
		says string
	}{
		"no EFI partition":       {data, Area{}, "needs a disk with an EFI partition"},
		"one across the end":     {data, Area{15 << 20, 2 << 20}, "needs a disk with an EFI partition"},
		"one at its descriptors": {data, Area{32 << 10, 1 << 20}, "needs a disk with an EFI partition"},
		"one between sectors":    {data, Area{1<<20 + 512, 1 << 20}, "needs a disk with an EFI partition"},
		"data in the gap":        {taken, when.EFI, "the disk has data where an iso has its descriptors"},
	} {
		o := when
		o.EFI = c.efi
		err := FileType{Format: ISO}.Write(t.Context(), io.Discard, memory{bytes.NewReader(c.data), 512}, o)
		require.ErrorIs(t, err, ErrFormat, name)
		require.ErrorContains(t, err, c.says, name)
	}
	require.ErrorContains(t, FileType{Format: ISO}.Fits(1<<20+512, 512, false), "whole 2 KiB only")
}
