package upgrade

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

// What our own repair would refuse is not sent to it.
func TestHowATableIsMended(t *testing.T) {
	disk := disktest.New(64<<20, 512)
	l, err := partition.Plan(nil, disk.Size(), 512, partition.Default(partition.Defaults{EFI: 40 << 20, State: 1 << 20}))
	require.NoError(t, err)
	require.Contains(t, mend(disk, l), "`installer disk repair`, while nothing")
	l.Partitions[3].First = l.Partitions[2].First
	require.Contains(t, mend(disk, l), "another program")
}
