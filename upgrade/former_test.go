package upgrade_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// What the places of the new partitions held before the disk lost its table is not found in them.
func TestInstallOverAZappedTable(t *testing.T) {
	r := start(t)
	layout, err := partition.Read(r.Disk)
	require.NoError(t, err)
	d := disktest.New(virtual.Size, 512)
	for _, p := range layout.Partitions {
		ones := bytes.Repeat([]byte("former life "), int(layout.Bytes(p)/12)+1)[:layout.Bytes(p)]
		_, err := d.WriteAt(ones, p.First*512)
		require.NoError(t, err)
	}
	o := upgrade.InstallOptions{Loader: sdboot.Backend{}, Partitions: virtual.Partitions(), Seed: "x", Now: virtual.Now}
	require.NoError(t, upgrade.Install(t.Context(), d, r.version("2.0.0"), o))
	for _, label := range []string{"BIOS", "STATE", "EPHEMERAL"} {
		p, err := layout.Find(label)
		require.NoError(t, err)
		b := make([]byte, 1<<20)
		for _, at := range []int64{0, layout.Bytes(p) - 1<<20} {
			_, err := d.ReadAt(b, p.First*512+at)
			require.NoError(t, err)
			require.True(t, bytes.Equal(make([]byte, len(b)), b), "%s at %d", label, at)
		}
	}
}

// A disk that something holds, wherever its mark lies, is refused and named, and nothing is written.
func TestInstallRefusesADiskThatSomethingHolds(t *testing.T) {
	r := start(t)
	img := r.version("2.0.0")
	for name, c := range map[string]struct {
		at   int64
		text string
	}{
		"a BlueStore of Ceph":    {0, "bluestore block device"},
		"a member of a ZFS pool": {128 << 10, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
		"a Linux RAID member":    {virtual.Size - 8<<10, "\xfc\x4e\x2b\xa9"},
		"an LVM physical volume": {1536, "LABELONE"},
		"a bcachefs file system": {4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9"},
		"an APFS container":      {32, "NXSB"},
		"a ReFS file system":     {0, "\x00\x00\x00ReFS\x00"},
		"a LUKS volume":          {0, "LUKS\xba\xbe"},
		"a qcow2 disk image":     {0, "QFI\xfb"},
		"a VHDX disk image":      {0, "vhdxfile"},
		"a VMDK disk image":      {0, "KDMV"},
	} {
		d := disktest.New(virtual.Size, 512)
		_, err := d.WriteAt([]byte(c.text), c.at)
		require.NoError(t, err)
		d.Record()
		err = upgrade.Install(t.Context(), d, img, upgrade.InstallOptions{Loader: sdboot.Backend{},
			Partitions: virtual.Partitions(), Now: virtual.Now})
		require.ErrorIs(t, err, upgrade.ErrInUse, name)
		require.ErrorContains(t, err, "found "+name)
		require.Empty(t, d.Trace().Ops, name)
	}
}
