package partition

import (
	"os"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/partition/gpt"
	blockdevice "github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"
	"github.com/stretchr/testify/require"
)

// Two libraries that other systems use read our tables as we do, on both sector sizes, and the other way round.
func TestOtherLibrariesAgree(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d, l := installed(t, 32*mib, sector)
		path := imageFile(t, d.Size())
		require.NoError(t, os.WriteFile(path, content(t, d), 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		defer func() { _ = f.Close() }()

		theirs, err := diskfs.Read(file.New(f, true), sector, sector)
		require.NoError(t, err)
		require.NoError(t, theirs.Verify(file.New(f, true), uint64(d.Size())))
		require.Equal(t, l.GUID.String(), strings.ToLower(theirs.GUID))
		i := 0
		for _, p := range theirs.Partitions {
			if p.Type == diskfs.Unused {
				continue
			}
			want := l.Partitions[i]
			i++
			require.Equal(t, []any{want.Label, want.GUID.String(), want.Type.String(), uint64(want.First),
				uint64(want.Last()), want.Attributes},
				[]any{p.Name, strings.ToLower(p.GUID), strings.ToLower(string(p.Type)), p.Start, p.End, p.Attributes})
		}
		require.Equal(t, len(l.Partitions), i)

		dev, err := blockdevice.DeviceFromFile(f, blockdevice.WithFileSectorSize(uint(sector)))
		require.NoError(t, err)
		table, err := blockdevice.Read(dev)
		require.NoError(t, err)
		require.Len(t, table.Partitions(), len(l.Partitions))
		for i, p := range table.Partitions() {
			want := l.Partitions[i]
			require.Equal(t, []any{want.Label, want.GUID, want.Type, uint64(want.First), uint64(want.Last())},
				[]any{p.Name, p.PartGUID, p.TypeGUID, p.FirstLBA, p.LastLBA})
		}

		// Written by them, read by us, with one partition more.
		last := table.Partitions()[4]
		last.LastLBA -= 4 * mib / uint64(sector)
		_, _, err = table.AllocatePartition(mib, "theirs", TypeLinux)
		require.NoError(t, err)
		require.NoError(t, table.Write())
		ours, err := Open(path, OpenOptions{SectorSize: sector})
		require.NoError(t, err)
		got, err := Read(ours)
		require.NoError(t, err)
		require.Empty(t, got.Problems)
		require.Equal(t, entries(l)[:4], entries(got)[:4])
		p, err := got.Find("theirs")
		require.NoError(t, err)
		require.Equal(t, int64(mib), got.Bytes(p))
		require.NoError(t, ours.Close())
	}
}
