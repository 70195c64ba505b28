package upgrade_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// content is so many bytes that do not pack.
func content(n int, seed string) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(p)
	return p
}

// rootIs puts other content in the place of an image's root.
func rootIs(data []byte) func([]pack.Asset) []pack.Asset {
	return func(a []pack.Asset) []pack.Asset {
		a[2] = pack.Data("images/root", data)
		return a
	}
}

// sent is how many bytes of layers a registry sent.
func sent(r *testregistry.Registry) (n int64) {
	for _, q := range r.Requests() {
		if strings.Contains(q.Path, "/blobs/") {
			n += q.Bytes
		}
	}
	return n
}

func TestARootIsTakenInChunksFromTheRunningOne(t *testing.T) {
	const size = 4 << 20
	old := content(size, "old")
	new := append(append(bytes.Clone(old[:2<<20]), "something more"...), old[2<<20:]...)
	r := startRootedWith(t, 8<<20, rootIs(old))
	r.rooted("2.0.0", rootIs(new))
	reg, two := r.pushed("2.0.0")
	p := r.plan(two, upgrade.Options{})
	root := reused(p, "images/root")
	require.True(t, root.Chunks)
	require.Equal(t, bootloader.A, root.From)
	require.Equal(t, fmt.Sprintf("%d of the %d bytes of images/root are copied from slot A, in chunks", root.Bytes,
		len(new)), root.String())
	require.Greater(t, root.Bytes, int64(size-300<<10))
	require.Equal(t, 1, p.Requests)
	require.Less(t, p.Fetch, int64(400<<10))

	reg.Heal()
	before, err := half(r.Disk, "A")
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	require.Less(t, sent(reg), int64(500<<10))
	got, err := half(r.Disk, "B")
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(got, new))
	after, err := half(r.Disk, "A")
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the running version's root")
	r.boots("B", "2.0.0")
	_, err = r.Confirm(t.Context())
	require.NoError(t, err)

	// A registry that does not send parts has the layer as a whole, and the plan says why.
	three := append(bytes.Clone(new), "and more"...)
	r.rooted("3.0.0", rootIs(three))
	reg, img := r.pushed("3.0.0")
	reg.Fault(testregistry.Fault{Parts: true, IgnoreRange: true})
	p = r.plan(img, upgrade.Options{})
	require.Contains(t, p.Whole, "the registry does not answer for a part of a blob")
	require.Greater(t, p.Fetch, int64(2<<20), "what is behind the insertion; what is before it was in slot A before")
	_, err = r.Upgrade(t.Context(), img, upgrade.Options{})
	require.NoError(t, err)
	got, err = half(r.Disk, "A")
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(got, three))
}

// A version whose image has a patch against what runs: the plan says so, and the patch is what comes. When what runs is
// not what the patch is for, chunks are.
func TestARootIsMadeByAPatch(t *testing.T) {
	const size = 1<<20 + 5000
	old := content(size, "old")
	new := append(append(bytes.Clone(old[:1<<19]), "something more"...), old[1<<19:]...)
	r := startRootedWith(t, 2<<20, rootIs(old))
	r.rooted("2.0.0", rootIs(new), pack.Old{Asset: "images/root", ReaderAt: bytes.NewReader(old), Size: size})
	reg, two := r.pushed("2.0.0")
	p := r.plan(two, upgrade.Options{})
	root := reused(p, "images/root")
	require.False(t, root.Chunks)
	require.Less(t, root.Patch, int64(2000))
	require.Equal(t, fmt.Sprintf("images/root is made of what slot A has, by a patch of %d bytes", root.Patch),
		root.String())
	require.Empty(t, p.Whole)

	// The half of the running slot is not what it was: found by its bytes.
	at := halfAt(t, r.Disk, "A")
	_, err := r.Disk.WriteAt([]byte{^old[700_000]}, at+700_000)
	require.NoError(t, err)
	require.True(t, reused(r.plan(two, upgrade.Options{}), "images/root").Chunks)
	_, err = r.Disk.WriteAt(old[700_000:][:1], at+700_000)
	require.NoError(t, err)

	reg.Heal()
	_, err = r.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	require.Less(t, sent(reg), int64(200<<10), "most of it the loader and the kernel")
	got, err := half(r.Disk, "B")
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(got, new))
	r.boots("B", "2.0.0")
	_, err = r.Confirm(t.Context())
	require.NoError(t, err)
}

// The power is cut while an image is written: what was flushed of it is not fetched again.
func TestAnImageCutAnywhereIsTakenUp(t *testing.T) {
	const size = 5<<20 + 12_345
	r := startRootedWith(t, 8<<20, nil)
	data := content(size, "new")
	r.rooted("2.0.0", rootIs(data))
	reg, two := r.pushed("2.0.0")
	r.record()
	_, err := r.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	trace := r.Disk.Trace()
	into := halfAt(t, r.Disk, "B")
	tried, taken, most := 0, 0, int64(0)
	o := disktest.Options{Block: 4096, Exhaustive: 1, Destroyed: 2, Samples: 4, Seed: 7}
	err = trace.Crashes(o, func(c *disktest.Crash) error {
		if c.Number%3 != 0 || c.Index < 0 || strings.Contains(c.String(), "unreadable") {
			return nil
		}
		written := int64(0) // of the image, when the power failed
		for _, op := range trace.Ops[:c.Index] {
			if op.Action == disktest.Write && op.Off >= into && op.Off < into+size {
				written = op.Off + int64(len(op.Data)) - into
			}
		}
		vars, err := efivar.LoadMemory(c.Atomics())
		if err != nil {
			return err
		}
		m := &virtual.Machine{Disk: c.Device(), Vars: vars, Boots: r.Boots}
		if err := m.Boot(); err != nil || m.Last.Trial {
			return err
		}
		reg.Heal()
		if _, err := finish(t.Context(), m, two); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		got, err := half(m.Disk, "B")
		if err != nil || !bytes.HasPrefix(got, data) {
			return fmt.Errorf("%s: the root is not what it should be: %w", c, err)
		}
		again := sent(reg) - (size - written)
		if tried++; written > again {
			taken++
		}
		most = max(most, again)
		return nil
	})
	require.NoError(t, err)
	t.Logf("%d cuts, %d downloads taken up; downloaded again: at most %d bytes", tried, taken, most)
	require.Less(t, most, int64(2<<20), "a MiB that was not flushed, a part of a frame, and the kernel")
	require.Greater(t, taken, 20)
}

// halfAt is where on the disk a slot's half begins.
func halfAt(t *testing.T, disk *disktest.Disk, s bootloader.Slot) int64 {
	t.Helper()
	layout, err := partition.Read(disk)
	require.NoError(t, err)
	p, err := layout.Find("ROOT-" + string(s))
	require.NoError(t, err)
	return p.First * 512
}
