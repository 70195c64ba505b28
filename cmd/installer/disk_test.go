package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// layout is the box's partition table.
func (b *box) layout() partition.Layout {
	b.t.Helper()
	raw, err := disk.Options{ReadOnly: true}.Open(b.disk)
	require.NoError(b.t, err)
	l, err := partition.Read(raw)
	require.NoError(b.t, err)
	require.NoError(b.t, raw.Close())
	return l
}

// A damaged copy of the table is reported by "status" and "disk show", and "disk repair" writes it as it was.
func TestDamagedTableIsToldOfAndRepaired(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	for what, at := range map[string]int64{"primary": 512 + 16, "backup": virtual.Size - 512 + 16} {
		b := f.box(t)
		status, out := b.on("disk show")
		require.Zero(t, status, out)
		require.Contains(t, out, "EPHEMERAL")
		require.NotContains(t, out, "warning")
		status, out = b.on("disk repair")
		require.Zero(t, status, out)
		require.Contains(t, out, "nothing to do")
		b.unchanged(f.disk, f.vars)

		b.patch(at, []byte{0xff})
		status, out = b.on("disk show")
		require.Zero(t, status, out)
		require.Contains(t, out, "warning: the "+what+" copy is damaged")
		status, out = b.on("status")
		require.Zero(t, status, out)
		require.Contains(t, out, "warning  partition table: the "+what+" copy is damaged")
		require.Contains(t, out, "`installer disk repair`")
		status, out = b.on("disk repair")
		require.Zero(t, status, out)
		require.Contains(t, out, "mended: the "+what+" copy is damaged")
		b.unchanged(f.disk, f.vars)
		status, out = b.on("status")
		require.Zero(t, status, out)
		require.NotContains(t, out, "partition table")
	}
}

// A pair of partitions for a root is made in the room that a disk has more: what was there stays where it is, and what
// does not fit is refused.
func TestAPairIsAddedToADiskThatGrew(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	status, out := b.on("disk add --size 4M")
	require.NotZero(t, status)
	require.Contains(t, out, "partition ROOT-A needs 4194304 bytes")
	require.Contains(t, out, "two halves of 4194304 bytes have to be free")
	b.unchanged(f.disk, f.vars)

	const size = 2 * virtual.Size
	require.NoError(t, os.Truncate(b.disk, size))
	before := b.layout()
	status, out = b.on("disk add --arch amd64 --size 4M")
	require.Zero(t, status, out)
	require.Contains(t, out, "partition 6 (ROOT-A) is new and has 4194304 bytes")
	require.Contains(t, out, "partition 7 (ROOT-B) is new and has 4194304 bytes")
	after := b.layout()
	require.Empty(t, after.Problems)
	require.Equal(t, before.Partitions, after.Partitions[:5])
	require.NotEqual(t, after.Partitions[5].GUID, after.Partitions[6].GUID)
	require.Equal(t, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", after.Partitions[5].Type.String(), "root of x86-64")

	status, out = b.on("disk add --arch amd64 --size 4M")
	require.Zero(t, status, out)
	require.Contains(t, out, "nothing to do")
	status, out = b.on("disk add --arch amd64 --size 8M")
	require.NotZero(t, status)
	require.Contains(t, out, "want 8388608")
	status, out = b.on("disk add --image usr --size 100G")
	require.NotZero(t, status)
	require.Contains(t, out, "the largest free area has")
	for _, wrong := range []string{"--size 0", "--size much", "--image a.b --size 4M", "--arch vax --size 4M", ""} {
		status, out = b.on("disk add " + wrong)
		require.Equal(t, 2, status, "%s: %s", wrong, out)
	}
	require.Equal(t, after, b.layout())
	status, out = b.on("status")
	require.Zero(t, status, out)
}

// A disk image that was copied onto a larger disk: the last partition takes the room, everything else is as it was, and
// it boots.
func TestDiskThatGrew(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	const size = 2 * virtual.Size
	require.NoError(t, os.Truncate(b.disk, size))
	status, out := b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "the disk grew")
	before := b.layout()
	status, out = b.on("disk grow")
	require.Zero(t, status, out)
	require.Contains(t, out, "partition 5 (EPHEMERAL) has")
	after := b.layout()
	require.Empty(t, after.Problems)
	require.Equal(t, before.Partitions[:4], after.Partitions[:4])
	last := after.Partitions[4]
	require.Equal(t, before.Partitions[4].First, last.First)
	require.Equal(t, int64(size-1<<20), (last.Last()+1)*512)
	data := b.content()
	start := before.Partitions[0].First * 512
	require.True(t, bytes.Equal(f.disk[start:virtual.Size-1<<20], data[start:virtual.Size-1<<20]),
		"what partitions hold")
	require.Equal(t, f.uki, b.boot().Digest)
	status, out = b.on("disk grow")
	require.Zero(t, status, out)
	require.Contains(t, out, "nothing to do")
}

// One partition is wiped, and only it; those that the machine boots with are refused.
func TestWipeOnePartition(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	at, size := f.place("STATE")
	b.patch(at, bytes.Repeat([]byte{7}, int(size)))
	b.patch(at+size-1, []byte{8})
	status, out := b.on("disk wipe", "--partition", "STATE")
	require.Zero(t, status, out)
	require.Contains(t, out, "partition 4 (STATE) of "+b.disk+" is wiped")
	b.unchanged(f.disk, f.vars)
	for label, c := range map[string]struct {
		code int
		says string
	}{
		"EFI": {exitUsage, "the machine boots with EFI"}, "BIOS": {exitUsage, "install --force"},
		"META": {exitUsage, "`installer meta reset`"},
		"NONE": {exitDisk, "find partition NONE"},
	} {
		status, out := b.on("disk wipe", "--partition", label)
		require.Equal(t, c.code, status, out)
		require.Contains(t, out, c.says)
	}
	status, out = b.on("disk wipe")
	require.Equal(t, exitUsage, status, out)
	b.unchanged(f.disk, f.vars)
}

// A disk that is a few sectors smaller than its table says gets its backup copy at the new end.
func TestRepairOfADiskThatIsSmaller(t *testing.T) {
	t.Parallel()
	b := newFactory(t).box(t)
	require.NoError(t, os.Truncate(b.disk, virtual.Size-8*512))
	status, out := b.on("disk repair")
	require.Zero(t, status, out)
	require.Contains(t, out, "mended: the primary copy is whole, but it is of a disk of 98304 sectors and this one "+
		"has 98296")
	status, out = b.on("disk repair")
	require.Zero(t, status, out)
	require.Contains(t, out, "nothing to do")
}

// What these commands are not for is refused, and not written.
func TestDiskCommandsOnOtherDisks(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	for name, c := range map[string]struct {
		make func(b *box)
		says string
	}{
		"a DOS table": {func(b *box) { b.writeDisk(append(dosTable(), make([]byte, 48<<20)...)) },
			"DOS (MBR) partition table"},
		"empty": {func(b *box) { b.writeDisk(make([]byte, 48<<20)) }, "no partition table"},
		"both copies damaged": {func(b *box) {
			b.patch(512+16, []byte{0xff})
			b.patch(virtual.Size-512+16, []byte{0xff})
		}, "both copies of the partition table are damaged"},
		"a disk that became too small": {func(b *box) { require.NoError(b.t, os.Truncate(b.disk, virtual.Size-4<<20)) },
			"the disk has 90112 sectors, and partition 4 (STATE) reaches to"},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.box(t)
			c.make(b)
			before := b.content()
			for _, command := range []string{"disk repair", "disk grow"} {
				status, out := b.on(command)
				require.Equal(t, exitDisk, status, out)
				require.Contains(t, out, c.says)
				require.Contains(t, out, b.disk)
				b.unchanged(before, f.vars)
			}
		})
	}
	b := f.box(t)
	d, err := partition.Open(b.disk, partition.OpenOptions{})
	require.NoError(t, err)
	for _, command := range []string{"disk repair", "disk grow", "disk wipe --partition STATE"} {
		status, out := b.on(command)
		require.Equal(t, exitRefused, status, out)
		require.Contains(t, out, "another program has locked "+b.disk)
	}
	require.NoError(t, d.Close())
	b.unchanged(f.disk, f.vars)
}

// A disk whose partitions another system has labelled: an image is made so, and each command finds its way with
// --label, and not without.
func TestADiskWithOtherLabels(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	require.NoError(t, os.Remove(b.disk))
	labels := []string{"--label", "EFI=COS_GRUB", "--label", "META=PAWL-META", "--label", "EPHEMERAL=COS_PERSISTENT"}
	status, out := run(t, append([]string{"image", "--image", f.one, "--output", b.disk, "--size", "2GiB"},
		labels...)...)
	require.Zero(t, status, out)
	b.writeVars(nil)
	require.Empty(t, b.boot().Stuck)
	status, out = b.on("status")
	require.NotZero(t, status)
	require.Contains(t, out, "find partition EFI")
	for _, command := range []string{"status", "doctor", "upgrade --image " + f.reference("2.0.0", virtual.Spec{}),
		"meta reset", "disk wipe --partition COS_PERSISTENT"} {
		status, out = b.on(command, labels...)
		require.Zero(t, status, out)
	}
	status, out = b.on("disk wipe --partition PAWL-META", labels...)
	require.Equal(t, 2, status)
	require.Contains(t, out, "the machine boots with PAWL-META")
	status, out = b.on("status", "--label", "META=EFI")
	require.Equal(t, 2, status)
	require.Contains(t, out, `--label: label "EFI" is that of EFI and of META`)
}
