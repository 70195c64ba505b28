package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

// What our own repair would not mend is not sent to it.
func TestHowATableIsMended(t *testing.T) {
	disk := disktest.New(64<<20, 512)
	l, err := partition.Plan(nil, disk.Size(), 512, partition.Default(partition.Defaults{EFI: 40 << 20,
		State: 1 << 20}))
	require.NoError(t, err)
	require.NoError(t, partition.Apply(disk, l))
	_, err = disk.WriteAt(make([]byte, 512), 0)
	require.NoError(t, err)
	says := func(disk *disktest.Disk) (string, Remedy) {
		l, err := partition.Read(disk)
		require.NoError(t, err)
		require.Len(t, l.Problems, 1)
		disk.Record()
		defer func() { require.Empty(t, disk.Trace().Ops) }()
		return mend(disk, l, l.Problems[0])
	}
	do, by := says(disk)
	require.Equal(t, RepairTable, by, do)
	require.NoError(t, partition.Apply(disk, l))
	do, by = says(disk.Resized(60 << 20))
	require.Empty(t, by)
	require.Contains(t, do, "another program for partitions; Pawl's own repair does not mend this (plan partitions: the "+
		"disk has 122880 sectors")
	for _, at := range []int64{1, disk.Size()/512 - 1} {
		require.NoError(t, loadertest.EditGPT(disk, at, func(_, e []byte) []byte {
			copy(e[2*128+32:][:8],
				e[1*128+32:])
			return e
		}))
	}
	do, by = says(disk)
	require.Empty(t, by)
	require.Contains(t, do, "another program")
}
