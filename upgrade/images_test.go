package upgrade_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// rootOf is the root image of a version: so many blocks of data, and their hash tree.
func rootOf(t testing.TB, version string, blocks int64) (data []byte, hash verity.Hash) {
	t.Helper()
	data = make([]byte, blocks*verity.BlockSize)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(version))).Read(data)
	tree := &grown{}
	b, err := verity.NewBuilder(tree, verity.Superblock{DataBlocks: blocks})
	require.NoError(t, err)
	_, err = b.Write(data)
	require.NoError(t, err)
	hash, err = b.Finish()
	require.NoError(t, err)
	return append(data, tree.b...), hash
}

type grown struct{ b []byte }

func (g *grown) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(g.b) {
		g.b = append(g.b, make([]byte, n-len(g.b))...)
	}
	return copy(g.b[off:], p), nil
}

const rootBlocks = 2 // so that the crash disks stay few

// rooted is an installer image with a root. edit may change its assets.
func (r *rig) rooted(version string, edit func([]pack.Asset) []pack.Asset, old ...pack.Old) *image.Image {
	r.t.Helper()
	data, hash := rootOf(r.t, version, rootBlocks)
	plain, err := r.images.Image(version, virtual.Spec{Size: 2_000})
	require.NoError(r.t, err)
	var uki bytes.Buffer
	require.NoError(r.t, plain.Extract(r.t.Context(), func(a image.Asset, in io.Reader) error {
		if a.Name == pack.UKIAsset {
			_, err := uki.ReadFrom(in)
			return err
		}
		return nil
	}, nil))
	root := pack.Data("images/root", data)
	root.Verity = hash.String()
	assets := []pack.Asset{pack.Data(pack.UKIAsset, uki.Bytes()),
		pack.Data(pack.LoaderAsset, loadertest.LoaderOf("amd64", "252.39-1~deb12u2")), root}
	if edit != nil {
		assets = edit(assets)
	}
	img, err := r.images.Image(version, virtual.Spec{Assets: assets, Old: old})
	require.NoError(r.t, err)
	return img
}

// startRooted is a machine whose version 1 has a root in a partition.
func startRooted(t *testing.T) *rig {
	t.Helper()
	return startRootedWith(t, 1<<20, nil)
}

// startRootedWith is the same with halves of so many bytes. edit may change the assets of version 1.
func startRootedWith(t *testing.T, size int64, edit func([]pack.Asset) []pack.Asset) *rig {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images}
	r.one = r.rooted("1.0.0", edit)
	backend, err := loaders.Named(loaders.SystemdBoot)
	require.NoError(t, err)
	specs := append(virtual.Partitions(), partition.Pair{Image: "root", Size: size}.Specs(nil, "virtual")...)
	r.Machine = &virtual.Machine{Disk: disktest.New(virtual.Size+2*size, 512), Vars: efivar.NewMemory(),
		Loader: loaders.SystemdBoot}
	require.NoError(t, upgrade.Install(t.Context(), r.Disk, r.one, upgrade.InstallOptions{Loader: backend,
		Partitions: specs, Seed: "virtual", Now: virtual.Now}))
	r.boots("A", "1.0.0")
	return r
}

// half reads a slot's half of the pair.
func half(disk *disktest.Disk, s bootloader.Slot) ([]byte, error) {
	layout, err := partition.Read(disk)
	if err != nil {
		return nil, err
	}
	p, err := layout.Find("ROOT-" + string(s))
	if err != nil {
		return nil, err
	}
	b := make([]byte, layout.Bytes(p))
	_, err = disk.ReadAt(b, p.First*512)
	return b, err
}

// hasRoot requires that a slot's half begins with the root of a version, and that an initramfs finds it there.
func (r *rig) hasRoot(s bootloader.Slot, version string) {
	r.t.Helper()
	want, hash := rootOf(r.t, version, rootBlocks)
	got, err := half(r.Disk, s)
	require.NoError(r.t, err)
	require.True(r.t, bytes.HasPrefix(got, want), "%s in slot %s", version, s)
	found, err := rootfs.Find(r.Disk, rootfs.Options{Slot: s})
	require.NoError(r.t, err)
	require.Equal(r.t, hash, found.Hash)
	require.Equal(r.t, version, found.Version)
	require.NoError(r.t, found.Check(r.t.Context(), r.Disk))
}

func TestALifeWithARootInAPartition(t *testing.T) {
	r := startRooted(t)
	r.hasRoot("A", "1.0.0")
	before, err := half(r.Disk, "A")
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), r.rooted("2.0.0", nil), upgrade.Options{})
	require.NoError(t, err)
	r.hasRoot("B", "2.0.0")
	after, err := half(r.Disk, "A")
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the running version's root")
	r.boots("B", "2.0.0")
	_, err = r.Confirm(t.Context())
	require.NoError(t, err)
	r.boots("B", "2.0.0")

	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Rollback(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	r.boots("A", "1.0.0")
	_, err = r.Confirm(t.Context())
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), r.rooted("3.0.0", nil), upgrade.Options{})
	require.NoError(t, err)
	r.hasRoot("A", "1.0.0")
	r.hasRoot("B", "3.0.0")
}

// An image without a root goes on to a machine that had one: its slot has no images, and boots.
func TestAVersionWithoutARootFollows(t *testing.T) {
	r := startRooted(t)
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	r.boots("B", "2.0.0")
	require.Empty(t, r.status().Slots[1].Manifest.Images)
}

func TestARootThatHasNoPlaceIsRefusedBeforehand(t *testing.T) {
	for name, c := range map[string]struct {
		start func(*testing.T) *rig
		edit  func([]pack.Asset) []pack.Asset
		want  error
	}{
		"no pair":   {start, nil, upgrade.ErrDoesNotFit},
		"too large": {startRooted, func(a []pack.Asset) []pack.Asset { return large(a, 1<<20+1) }, upgrade.ErrDoesNotFit},
		"of another name": {startRooted, func(a []pack.Asset) []pack.Asset {
			a[2].Name = "images/usr"
			return a
		}, upgrade.ErrDoesNotFit},
		"a name that none can have": {startRooted, func(a []pack.Asset) []pack.Asset {
			a[2].Name = "images/a.b"
			return a
		}, upgrade.ErrUnfit},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.start(t)
			r.Disk.Record()
			_, err := r.Upgrade(t.Context(), r.rooted("2.0.0", c.edit), upgrade.Options{})
			require.ErrorIs(t, err, c.want)
			require.Empty(t, r.Disk.Trace().Ops, "nothing was written")
		})
	}
}

func large(a []pack.Asset, size int) []pack.Asset {
	a[2] = pack.Data(a[2].Name, make([]byte, size))
	return a
}

// A tree that is not that of the root hash, or none at all: the bytes are what the image says, and still cannot boot.
func TestARootThatDoesNotVerifyIsNotTried(t *testing.T) {
	for name, edit := range map[string]func([]pack.Asset) []pack.Asset{
		"another root hash": func(a []pack.Asset) []pack.Asset {
			a[2].Verity = strings.Repeat("ab", 32)
			return a
		},
		"no tree": func(a []pack.Asset) []pack.Asset {
			a[2].Size = verity.BlockSize
			data, hash := rootOf(t, "2.0.0", 1)
			a[2] = pack.Data(a[2].Name, data[:verity.BlockSize])
			a[2].Verity = hash.String()
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRooted(t)
			_, err := r.Upgrade(t.Context(), r.rooted("2.0.0", edit), upgrade.Options{})
			require.ErrorIs(t, err, upgrade.ErrUnfit)
			r.boots("A", "1.0.0")
			r.hasRoot("A", "1.0.0")
		})
	}
}

func TestADamagedRootIsFound(t *testing.T) {
	r := startRooted(t)
	_, err := r.Upgrade(t.Context(), r.rooted("2.0.0", nil), upgrade.Options{})
	require.NoError(t, err)
	r.boots("B", "2.0.0")
	_, err = r.Confirm(t.Context())
	require.NoError(t, err)
	off, _ := r.at("ROOT-A")
	r.junk(off+4096, 1)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Rollback(t.Context(), upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrNotComplete)
	problems, err := m.Damage(t.Context(), r.status().Slots[0])
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0], "image root")
	r.boots("B", "2.0.0")
}

// Labels that name the running slot's half as the other's.
func TestTheRunningSlotsRootIsNeverWritten(t *testing.T) {
	r := startRooted(t)
	r.Labels = partition.Labels{"ROOT-A": "ROOT-B", "ROOT-B": "ROOT-A"}
	before, err := half(r.Disk, "A")
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), r.rooted("2.0.0", nil), upgrade.Options{Force: true})
	require.ErrorContains(t, err, "where slot A, which runs, has its root")
	after, err := half(r.Disk, "A")
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
}

// The same, where a file of the running slot is gone, and where its manifest cannot be read.
func TestTheRunningSlotsRootIsNeverWrittenBesideAFileThatIsGone(t *testing.T) {
	for file, says := range map[string]string{
		bootloader.LoaderFile:   "where slot A, which runs, has its root",
		bootloader.ManifestFile: "look where the images of slot A are",
	} {
		r := startRooted(t)
		r.Labels = partition.Labels{"ROOT-A": "ROOT-B", "ROOT-B": "ROOT-A"}
		r.put(bootloader.A.File(file), []byte("{}"))
		before, err := half(r.Disk, "A")
		require.NoError(t, err)
		_, err = r.Upgrade(t.Context(), r.rooted("2.0.0", nil), upgrade.Options{Force: true})
		require.ErrorContains(t, err, says, file)
		after, err := half(r.Disk, "A")
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), file)
	}
}

// cutAnywhere cuts the power at each write of an upgrade with a root. What boots has to be whole: its own files, and
// its own root in its half. The running version's half never changes.
func cutAnywhere(t *testing.T, r *rig, trace *disktest.Trace, block int) (disks, trials int, err error) {
	roots := map[bootloader.Slot][]byte{}
	roots["A"], _ = rootOf(t, "1.0.0", rootBlocks)
	roots["B"], _ = rootOf(t, "2.0.0", rootBlocks)
	o := disktest.Options{Block: block, Exhaustive: 6, Destroyed: 64, Samples: 8, Seed: 1}
	err = trace.Crashes(o, func(c *disktest.Crash) error {
		vars, err := efivar.LoadMemory(c.Atomics())
		if err != nil {
			return err
		}
		m := &virtual.Machine{Disk: c.Device(), Vars: vars, Boots: r.Boots}
		if err := m.Boot(); err != nil {
			return err
		}
		s := m.Last.Slot
		if s == bootloader.None || s == "B" && !m.Last.Trial {
			return fmt.Errorf("%s: boots %s", c, m.Last)
		}
		if err := wholeRoots(m.Disk, roots, s); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		disks++
		if m.Last.Trial {
			trials++
		}
		return nil
	})
	return disks, trials, err
}

// wholeRoots looks at the roots that count: the running version's, what boots, and of a slot that has a manifest.
func wholeRoots(disk *disktest.Disk, roots map[bootloader.Slot][]byte, boots bootloader.Slot) error {
	layout, err := partition.Read(disk)
	if err != nil {
		return err
	}
	esp, err := layout.Find("EFI")
	if err != nil {
		return err
	}
	boot, err := bootfs.Open(partition.Section(disk, esp), bootfs.Options{})
	if err != nil {
		return err
	}
	for _, s := range bootloader.Slots() {
		_, err := bootloader.ReadSlot(boot, s)
		if s == "B" && boots != "B" && err != nil {
			continue // not complete
		}
		if err != nil {
			return fmt.Errorf("slot %s: %w", s, err)
		}
		got, err := half(disk, s)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(got, roots[s]) {
			return fmt.Errorf("slot %s counts as complete, and its root is another", s)
		}
	}
	return nil
}

func TestAnUpgradeWithARootCutAnywhere(t *testing.T) {
	r := startRooted(t)
	two := r.rooted("2.0.0", nil)
	r.record()
	_, err := r.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	trace := r.Disk.Trace()
	for _, block := range []int{512, 4096} {
		disks, trials, err := cutAnywhere(t, r, trace, block)
		require.NoError(t, err)
		require.NotZero(t, trials)
		t.Logf("blocks of %d: %d disks, %d of them boot the trial", block, disks, trials)
	}

	// Programs with a fault, which this has to find.
	offA, size := r.at("ROOT-A")
	offB, _ := r.at("ROOT-B")
	inB := func(o disktest.Op) bool { return o.Action == disktest.Write && o.Off >= offB && o.Off < offB+size }
	last := 0
	for i, o := range trace.Ops {
		if inB(o) {
			last = i
		}
	}
	require.NotZero(t, last)
	t.Run("the image is flushed after the manifest", func(t *testing.T) {
		mutant := trace
		for _, i := range slices.Backward(trace.Flushes()) {
			if i > last && i < len(trace.Ops)-1 {
				mutant = mutant.DropFlush(i)
			}
		}
		_, _, err := cutAnywhere(t, r, mutant, 512)
		require.ErrorContains(t, err, "its root is another")
	})
	t.Run("the image goes into the running version's half", func(t *testing.T) {
		mutant := trace.Swap(0, 0)
		for i, o := range mutant.Ops {
			if inB(o) {
				mutant.Ops[i].Off += offA - offB
			}
		}
		_, _, err := cutAnywhere(t, r, mutant, 512)
		require.ErrorContains(t, err, "slot A counts as complete, and its root is another")
	})
	t.Run("the image is not written", func(t *testing.T) {
		mutant := trace.Swap(0, 0)
		for i, o := range mutant.Ops {
			if inB(o) {
				mutant.Ops[i].Data = make([]byte, len(o.Data))
			}
		}
		_, _, err := cutAnywhere(t, r, mutant, 512)
		require.ErrorContains(t, err, "its root is another")
	})
}

// A new disk gets a pair by itself, with room for growth.
func TestAnInstallPlansThePair(t *testing.T) {
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images}
	one := r.rooted("1.0.0", nil)
	backend, err := loaders.Named(loaders.SystemdBoot)
	require.NoError(t, err)
	disk := disktest.New(2<<30, 512)
	require.NoError(t, upgrade.Install(context.Background(), disk, one, upgrade.InstallOptions{Loader: backend,
		Seed: "x", Now: virtual.Now}))
	layout, err := partition.Read(disk)
	require.NoError(t, err)
	for _, s := range bootloader.Slots() {
		p, err := layout.Find("ROOT-" + string(s))
		require.NoError(t, err)
		require.EqualValues(t, 65<<20, layout.Bytes(p), "the image and 64 MiB, in whole MiB")
		require.Equal(t, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", p.Type.String())
	}
	found, err := rootfs.Find(disk, rootfs.Options{Slot: "A"})
	require.NoError(t, err)
	require.NoError(t, found.Check(t.Context(), disk))
}

// A disk from before there were images gets a pair in the room that it has more, and then a version with a root.
func TestARootFollowsOnADiskThatGotAPair(t *testing.T) {
	r := start(t)
	two := r.rooted("2.0.0", nil)
	_, err := r.Upgrade(t.Context(), two, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrDoesNotFit)
	require.ErrorContains(t, err, "installer disk add")
	r.Disk = r.Disk.Resized(r.Disk.Size() + 4<<20)
	l, err := partition.Read(r.Disk)
	require.NoError(t, err)
	after, err := partition.Plan(&l, r.Disk.Size(), l.SectorSize,
		partition.Pair{Image: "root", Size: 1 << 20}.Specs(nil, ""))
	require.NoError(t, err)
	require.NoError(t, partition.Apply(r.Disk, after))
	_, err = r.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	r.boots("B", "2.0.0")
	r.hasRoot("B", "2.0.0")
}
