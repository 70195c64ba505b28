package partition_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

// put writes bytes at an offset.
func put(t *testing.T, d partition.Device, at int64, text string) {
	t.Helper()
	_, err := d.WriteAt([]byte(text), at)
	require.NoError(t, err)
}

func lines(d partition.Device) (all []string) {
	for _, c := range partition.Contents(d) {
		all = append(all, fmt.Sprint(c))
	}
	return all
}

func TestWhatIsOnADiskIsSaidWithSizesAndNames(t *testing.T) {
	const mib = 1 << 20
	d := disktest.New(64*mib, 512)
	require.Empty(t, lines(d), "nothing")

	put(t, d, 1080, "\x53\xef")
	put(t, d, 1144, "photos\xff of 2019")
	require.Equal(t, []string{"the whole disk, 64 MiB, an ext2, ext3 or ext4 file system \"photos\ufffd of 2019\""},
		lines(d))

	dos := disktest.New(64*mib, 512)
	entry := make([]byte, 66)
	entry[4], entry[64], entry[65] = 0x83, 0x55, 0xaa
	binary.LittleEndian.PutUint32(entry[8:], 2048)
	binary.LittleEndian.PutUint32(entry[12:], 3*2048)
	put(t, dos, 446, string(entry))
	put(t, dos, mib+65536+64, "_BHRfS_M")
	put(t, dos, mib+65536+299, "home")
	require.Equal(t, []string{`partition 1, 3 MiB, a btrfs file system "home"`}, lines(dos))
	binary.LittleEndian.PutUint32(entry[12:], 1<<31) // beyond the end: told, and not looked into
	put(t, dos, 446, string(entry))
	require.Equal(t, []string{"partition 1, 1 TiB"}, lines(dos))

	gpt := disktest.New(64*mib, 512)
	specs := []partition.Spec{
		{Label: "EFI", Type: partition.TypeESP, GUID: uuid.New(), Size: 33 * mib},
		{Label: "STATE", Type: partition.TypeLinux, GUID: uuid.New(), Size: mib},
		{Label: "DATA", Type: partition.TypeLinux, GUID: uuid.New()},
	}
	l, err := partition.Plan(nil, gpt.Size(), 512, specs)
	require.NoError(t, err)
	require.NoError(t, partition.Apply(gpt, l))
	put(t, gpt, mib+82, "FAT32   ")
	put(t, gpt, mib+71, "BOOT       ")
	put(t, gpt, 35*mib, "LUKS\xba\xbe")
	put(t, gpt, 35*mib+24, "vault")
	require.Equal(t, []string{`partition 1 (EFI), 33 MiB, a FAT file system "BOOT"`, "partition 2 (STATE), 1 MiB",
		`partition 3 (DATA), 28 MiB, a LUKS volume "vault"`}, lines(gpt))
}
