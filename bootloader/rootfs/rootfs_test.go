package rootfs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

const (
	mib      = 1 << 20
	boot     = "11111111-2222-3333-4444-555555555501"
	wants    = "pawl.verity.root="
	rootSize = 40 * verity.BlockSize // of the file system in a root
)

func half(s bootloader.Slot) uuid.UUID {
	return uuid.MustParse("11111111-2222-3333-4444-5555555555a" + map[bootloader.Slot]string{"A": "1", "B": "2"}[s])
}

// machine is a disk with a pair of partitions for roots.
type machine struct {
	disk   partition.Device
	boot   *bootfs.FS
	layout partition.Layout
}

func newMachine(t testing.TB, disk partition.Device) *machine {
	t.Helper()
	esp := int64(64 * mib)
	if disk.SectorSize() == 4096 {
		esp = 300 * mib // the smallest FAT32 with such sectors is larger
	}
	layout, err := partition.Plan(nil, disk.Size(), disk.SectorSize(), []partition.Spec{
		{Label: "EFI", Type: partition.TypeESP, GUID: uuid.MustParse(boot), Size: esp},
		{Label: "ROOT-A", Type: partition.TypeLinux, GUID: half("A"), Size: mib},
		{Label: "ROOT-B", Type: partition.TypeLinux, GUID: half("B"), Size: mib},
	})
	require.NoError(t, err)
	require.NoError(t, partition.Apply(disk, layout))
	m := &machine{disk: disk, layout: layout}
	volume := m.section(t, "EFI")
	require.NoError(t, bootfs.Format(volume, bootfs.FormatOptions{Label: "EFI"}))
	m.boot, err = bootfs.Open(volume, bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(t, err)
	for _, s := range bootloader.Slots() {
		require.NoError(t, m.boot.Mkdir(s.Dir()))
	}
	return m
}

func (m *machine) section(t testing.TB, label string) partition.Device {
	t.Helper()
	p, err := m.layout.Find(label)
	require.NoError(t, err)
	return partition.Section(m.disk, p)
}

// content is a file system of that version.
func content(version string) []byte {
	b := make([]byte, rootSize)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(version))).Read(b)
	return b
}

// write puts a root with a hash tree into a slot, and its manifest, which edit may change.
func (m *machine) write(t testing.TB, s bootloader.Slot, version string, edit func(*bootloader.Manifest)) verity.Hash {
	t.Helper()
	data := content(version)
	part := m.section(t, "ROOT-"+string(s))
	_, err := part.WriteAt(data, 0)
	require.NoError(t, err)
	super := verity.Superblock{DataBlocks: rootSize / verity.BlockSize, Salt: []byte{1, 2}}
	b, err := verity.NewBuilder(io.NewOffsetWriter(part, rootSize), super)
	require.NoError(t, err)
	_, err = b.Write(data)
	require.NoError(t, err)
	hash, err := b.Finish()
	require.NoError(t, err)
	tree, err := verity.Size(rootSize)
	require.NoError(t, err)
	whole := make([]byte, rootSize+tree)
	_, err = part.ReadAt(whole, 0)
	require.NoError(t, err)
	man := bootloader.Manifest{
		Version: version, Image: "sha256:" + strings.Repeat("ab", 32), Arch: "amd64",
		Files: []bootloader.File{{Name: bootloader.UKIFile, Size: 1, SHA256: strings.Repeat("cd", 32)}},
		Images: []bootloader.Image{{Name: bootloader.RootImage, Partition: half(s), Size: rootSize + tree,
			SHA256: fmt.Sprintf("%x", sha256.Sum256(whole)), Verity: hash.String()}},
	}
	if edit != nil {
		edit(&man)
	}
	text, err := bootloader.EncodeManifest(man)
	require.NoError(t, err)
	require.NoError(t, m.boot.WriteFile(s.File(bootloader.ManifestFile), text))
	return hash
}

// both has version 1 in slot A and version 2 in slot B.
func both(t testing.TB, sector int) (m *machine, one, two verity.Hash) {
	size := int64(80 * mib)
	if sector == 4096 {
		size = 400 * mib
	}
	m = newMachine(t, disktest.New(size, sector))
	return m, m.write(t, "A", "1", nil), m.write(t, "B", "2", nil)
}

func TestTheRunningSlotsRootIsFound(t *testing.T) {
	m, one, two := both(t, 512)
	for name, c := range map[string]struct {
		o    rootfs.Options
		want bootloader.Slot
	}{
		"by the arguments":                 {rootfs.Options{Cmdline: "quiet pawl.slot=B"}, "B"},
		"in the other case":                {rootfs.Options{Cmdline: "pawl.slot=a pawl.boot=" + strings.ToUpper(boot)}, "A"},
		"by the caller":                    {rootfs.Options{Slot: "B"}, "B"},
		"by both":                          {rootfs.Options{Cmdline: "pawl.slot=B", Slot: "B"}, "B"},
		"by a UKI's root hash":             {rootfs.Options{Cmdline: wants + two.String()}, "B"},
		"in capitals":                      {rootfs.Options{Cmdline: wants + strings.ToUpper(one.String())}, "A"},
		"by hash and caller":               {rootfs.Options{Cmdline: wants + one.String(), Slot: "A"}, "A"},
		"what is behind -- is no argument": {rootfs.Options{Cmdline: "pawl.slot=B -- pawl.slot=A"}, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rootfs.Find(m.disk, c.o)
			require.NoError(t, err)
			require.Equal(t, c.want, r.Slot)
			require.Equal(t, map[bootloader.Slot]string{"A": "1", "B": "2"}[c.want], r.Version)
			require.Equal(t, half(c.want), r.Partition.GUID)
			require.EqualValues(t, rootSize, r.Size)
			require.Equal(t, map[bootloader.Slot]verity.Hash{"A": one, "B": two}[c.want], r.Hash)
			got := make([]byte, r.Size)
			_, err = m.disk.ReadAt(got, r.Offset)
			require.NoError(t, err)
			require.True(t, bytes.Equal(content(r.Version), got))
			require.NoError(t, r.Check(context.Background(), m.disk))
		})
	}
}

func TestWhatContradictsIsRefused(t *testing.T) {
	other := verity.Hash{1}
	for name, c := range map[string]struct {
		o    rootfs.Options
		want error
	}{
		"nothing says which slot": {rootfs.Options{Cmdline: "quiet"}, rootfs.ErrAmbiguous},
		"two slots":               {rootfs.Options{Cmdline: "pawl.slot=A pawl.slot=B"}, rootfs.ErrAmbiguous},
		"no slot":                 {rootfs.Options{Cmdline: "pawl.slot=C"}, rootfs.ErrAmbiguous},
		"the caller says another": {rootfs.Options{Cmdline: "pawl.slot=A", Slot: "B"}, rootfs.ErrAmbiguous},
		"another disk": {rootfs.Options{Cmdline: "pawl.slot=A pawl.boot=" + half("A").String()},
			rootfs.ErrOtherDisk},
		"two disks":         {rootfs.Options{Cmdline: "pawl.slot=A pawl.boot=x pawl.boot=y"}, rootfs.ErrAmbiguous},
		"a hash of neither": {rootfs.Options{Cmdline: wants + other.String()}, rootfs.ErrWrong},
		"a hash of another, slot A": {rootfs.Options{Cmdline: "pawl.slot=A " + wants + other.String()},
			rootfs.ErrWrong},
		"two hashes":           {rootfs.Options{Cmdline: "pawl.verity.root=x pawl.verity.root=y"}, rootfs.ErrWrong},
		"no image of the name": {rootfs.Options{Cmdline: "pawl.slot=A", Image: "usr"}, rootfs.ErrNoImage},
		"no name":              {rootfs.Options{Cmdline: "pawl.slot=A", Image: "../x"}, bootloader.ErrManifest},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := both(t, 512)
			_, err := rootfs.Find(m.disk, c.o)
			require.ErrorIs(t, err, c.want)
		})
	}
	m, _, _ := both(t, 512)
	_, err := rootfs.Find(m.disk, rootfs.Options{Cmdline: "pawl.slot=A pawl.verity.root=12"})
	require.ErrorContains(t, err, "64 hex digits")
	hash := m.write(t, "B", "1", nil)
	_, err = rootfs.Find(m.disk, rootfs.Options{Cmdline: wants + hash.String()})
	require.ErrorIs(t, err, rootfs.ErrAmbiguous, "both slots have it, and the running one's partition must be taken")
	r, err := rootfs.Find(m.disk, rootfs.Options{Cmdline: wants + hash.String(), Slot: "B"})
	require.NoError(t, err)
	require.Equal(t, half("B"), r.Partition.GUID)
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	find := func(m *machine) error {
		_, err := rootfs.Find(m.disk, rootfs.Options{Cmdline: "pawl.slot=B"})
		return err
	}
	m, _, _ := both(t, 512)
	m.write(t, "B", "2", func(man *bootloader.Manifest) { man.Images[0].Partition = uuid.New() })
	require.ErrorIs(t, find(m), partition.ErrNotFound)
	m.write(t, "B", "2", func(man *bootloader.Manifest) { man.Images[0].Size = 2 * mib })
	require.ErrorIs(t, find(m), rootfs.ErrWrong, "larger than its partition")
	m.write(t, "B", "2", func(man *bootloader.Manifest) { man.Images[0].Size -= verity.BlockSize })
	require.ErrorIs(t, find(m), verity.ErrFormat, "cut short")
	m.write(t, "B", "2", func(man *bootloader.Manifest) { man.Images = nil })
	require.ErrorIs(t, find(m), rootfs.ErrNoImage)
	m.write(t, "B", "2", func(man *bootloader.Manifest) { man.Images[0].Verity = strings.Repeat("ab", 32) })
	require.ErrorIs(t, find(m), verity.ErrCorrupt, "a root hash of another image")
	require.NoError(t, m.boot.Remove(bootloader.B.File(bootloader.ManifestFile)))
	require.Error(t, find(m))
}

func TestAFlippedBitIsFound(t *testing.T) {
	for _, tree := range []bool{true, false} {
		m, _, _ := both(t, 4096)
		m.write(t, "B", "2", func(man *bootloader.Manifest) {
			if !tree {
				man.Images[0].Verity = ""
			}
		})
		r, err := rootfs.Find(m.disk, rootfs.Options{Cmdline: "pawl.slot=B"})
		require.NoError(t, err)
		require.Equal(t, tree, r.Tree != nil)
		require.NoError(t, r.Check(context.Background(), m.disk))
		for _, at := range []int64{0, rootSize - 1, rootSize + 80, r.Image.Size - 1} {
			b := make([]byte, 1)
			_, err := m.disk.ReadAt(b, r.Offset+at)
			require.NoError(t, err)
			_, err = m.disk.WriteAt([]byte{b[0] ^ 1}, r.Offset+at)
			require.NoError(t, err)
			require.Error(t, r.Check(context.Background(), m.disk), "byte %d", at)
			_, err = m.disk.WriteAt(b, r.Offset+at)
			require.NoError(t, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, r.Check(ctx, m.disk), context.Canceled)
	}
}

func TestTheTableOfDMVerity(t *testing.T) {
	m, one, _ := both(t, 512)
	r, err := rootfs.Find(m.disk, rootfs.Options{Slot: "A"})
	require.NoError(t, err)
	node := rootfs.Node("/dev/vda", r.Partition.Number)
	require.Equal(t, "/dev/vda2", node)
	require.Equal(t, "/dev/nvme0n1p2", rootfs.Node("/dev/nvme0n1", 2))
	target, err := r.Target(node, rootfs.Panic, rootfs.CheckOnce)
	require.NoError(t, err)
	require.Equal(t, "0 320 verity 1 /dev/vda2 /dev/vda2 4096 4096 40 41 sha256 "+one.String()+
		" 0102 2 panic_on_corruption check_at_most_once", target.String())
	r.Tree.Salt = nil
	target, err = r.Target("254:3")
	require.NoError(t, err)
	require.Equal(t, "0 320 verity 1 254:3 254:3 4096 4096 40 41 sha256 "+one.String()+" -", target.String())
	for _, node := range []string{"", "/dev/a b", "/dev/a\x00", "/dev/\xff"} {
		_, err := r.Target(node)
		require.Error(t, err, "%q", node)
	}
	_, err = r.Target(node, "fec_roots")
	require.Error(t, err)
	_, err = r.Target(node, rootfs.Panic, rootfs.Panic)
	require.Error(t, err)
	r.Tree = nil
	_, err = r.Target(node)
	require.ErrorIs(t, err, rootfs.ErrNoTree)
}
