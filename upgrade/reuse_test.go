package upgrade_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// large is an image whose UKI has five frames and a part of one.
func (r *rig) large(version string) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, virtual.Spec{Size: 5<<20 + 300_000})
	require.NoError(r.t, err)
	return img
}

// pushed is the image in a registry, which counts.
func (r *rig) pushed(version string) (*testregistry.Registry, *image.Image) {
	r.t.Helper()
	reg, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(r.t, err)
	r.t.Cleanup(func() { reg.Close() })
	l, err := pack.Create(r.images.Dir())
	require.NoError(r.t, err)
	b, err := l.Find("v" + version)
	require.NoError(r.t, err)
	nobody := authn.NewMultiKeychain()
	ref, err := l.Push(r.t.Context(), b, reg.Host()+"/os:"+version, pack.PushOptions{Keychain: nobody})
	require.NoError(r.t, err)
	img, err := image.Open(r.t.Context(), ref, image.Options{Arch: "amd64", Keychain: nobody})
	require.NoError(r.t, err)
	reg.Heal()
	return reg, img
}

// layers is of how many layers the registry was asked for something since it was healed: the whole, a part, or the table
// of chunks.
func layers(reg *testregistry.Registry) int {
	asked := map[string]bool{}
	for _, q := range reg.Requests() {
		if strings.Contains(q.Path, "/blobs/") {
			asked[q.Path] = true
		}
	}
	return len(asked)
}

func (r *rig) plan(img *image.Image, o upgrade.Options) upgrade.Plan {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	p, err := m.Plan(r.t.Context(), img, o)
	require.NoError(r.t, err)
	return p
}

func TestWhatTheTargetHoldsIsNotDownloaded(t *testing.T) {
	r := start(t)
	r.large("2.0.0")
	reg, two := r.pushed("2.0.0")
	p := r.plan(two, upgrade.Options{})
	require.Empty(t, reused(p, "os.efi"))
	require.Equal(t, "loader.efi is copied from slot A, which holds the same", reused(p, "loader.efi").String())
	require.False(t, p.Restarts)
	require.Positive(t, p.Fetch)
	r.upgrade(two)
	require.Equal(t, 1, layers(reg), "the loader is there")

	p = r.plan(two, upgrade.Options{})
	require.Zero(t, p.Fetch)
	require.Equal(t, "os.efi is there already", reused(p, "os.efi").String())
	reg.Heal()
	r.Disk.Record()
	r.upgrade(two)
	require.Zero(t, layers(reg))
	require.Less(t, bytesWritten(r.Disk.Trace()), int64(1<<20))
	require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
}

// A person's tool put a slot's files back, with names in upper case as many do.
func TestWhatTheTargetHoldsInUpperCaseIsUsedAgain(t *testing.T) {
	r := start(t)
	two, three := r.image("2.0.0"), r.image("3.0.0")
	r.upgrade(two)
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	f := r.bootFiles()
	for _, name := range []string{"os.efi", "loader.efi", "manifest.json"} {
		path := bootloader.A.File(name)
		data, err := f.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, f.Remove(path))
		require.NoError(t, f.WriteFile(strings.ToUpper(path), data))
	}
	r.upgrade(three)
	require.True(t, r.boots(bootloader.A, "3.0.0").Trial)
}

// reused is what a plan says of one file.
func reused(p upgrade.Plan, file string) upgrade.Reuse {
	for _, r := range p.Reused {
		if r.File == file {
			return r
		}
	}
	return upgrade.Reuse{}
}

func bytesWritten(trace *disktest.Trace) (n int64) {
	for _, op := range trace.Ops {
		n += int64(len(op.Data))
	}
	return n
}

// A file that is kept but is not what it was is found out by its digest, not trusted for its name and size.
func TestAFileThatWasChangedIsDownloadedAgain(t *testing.T) {
	r := start(t)
	r.large("2.0.0")
	reg, two := r.pushed("2.0.0")
	r.upgrade(two)
	m, err := r.Open()
	require.NoError(t, err)
	w, err := m.Boot.Fill("EFI/pawl/B/os.efi", 2<<20)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.EqualValues(t, 2<<20, reused(r.plan(two, upgrade.Options{}), "os.efi").Bytes)
	reg.Heal()
	r.upgrade(two)
	require.Equal(t, 1, layers(reg))
	require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
}

func TestWhatTheActiveSlotHoldsIsCopied(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	kernel, err := m.Boot.ReadFile("EFI/pawl/A/os.efi")
	require.NoError(t, err)
	_, err = r.images.Image("1.0.0", virtual.Spec{UKI: kernel,
		Annotations: map[string]string{"org.example.built": "again"}})
	require.NoError(t, err)
	reg, again := r.pushed("1.0.0")
	require.NotEqual(t, r.one.Digest, again.Digest)
	p := r.plan(again, upgrade.Options{Force: true})
	require.Zero(t, p.Fetch)
	require.Equal(t, "os.efi is copied from slot A, which holds the same", reused(p, "os.efi").String())
	_, err = r.Upgrade(t.Context(), again, upgrade.Options{Force: true})
	require.NoError(t, err)
	require.Zero(t, layers(reg))
	require.NoError(t, r.Boot())
	require.Equal(t, bootloader.B, r.Last.Slot)
}

func TestAnImageWithoutFramesRestartsAndThePlanSaysSo(t *testing.T) {
	r := start(t)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/install/amd64"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/install/amd64/vmlinuz.efi"), []byte("a kernel"), 0o600))
	img, err := image.Open(t.Context(), "dir:"+dir, image.Options{Arch: "amd64"})
	require.NoError(t, err)
	require.True(t, r.plan(img, upgrade.Options{}).Restarts)
}

// TestADownloadCutAnywhereIsTakenUp cuts the power during the download. The next run has to find all but what was
// written since the last flush, and to end with a system that boots.
func TestADownloadCutAnywhereIsTakenUp(t *testing.T) {
	r := start(t)
	two := r.large("2.0.0")
	r.record()
	r.upgrade(two)
	trace := r.Disk.Trace()
	begun := map[int]int64{} // bytes of large writes before each operation
	var sum int64
	for i, op := range trace.Ops {
		begun[i] = sum
		if len(op.Data) >= 64<<10 {
			sum += int64(len(op.Data))
		}
	}
	require.Greater(t, sum, int64(5<<20))
	begun[len(trace.Ops)] = sum

	tried, taken := 0, 0
	o := disktest.Options{Block: 4096, Exhaustive: 1, Destroyed: 2, Samples: 4, Seed: 7}
	err := trace.Crashes(o, func(c *disktest.Crash) error {
		if c.Number%3 != 0 || c.Index < 0 || strings.Contains(c.String(), "unreadable") {
			return nil
		}
		vars, err := efivar.LoadMemory(c.Atomics())
		if err != nil {
			return err
		}
		m := &virtual.Machine{Disk: c.Device(), Vars: vars, Boots: r.Boots}
		if err := m.Boot(); err != nil {
			return err
		}
		if m.Last.Trial {
			return nil // cut after all was done
		}
		tried++
		if m.Last.Slot != bootloader.A {
			return fmt.Errorf("%s: %s", c, m.Last)
		}
		held, err := finish(t.Context(), m, two)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		if held > 0 {
			taken++
		}
		destroyed := strings.Contains(c.String(), "garbage") // perhaps the file's directory, or its table
		if lost := begun[c.Index] - held; lost > 2<<20 && !destroyed {
			return fmt.Errorf("%s: %d bytes were written and %d are held", c, begun[c.Index], held)
		}
		return nil
	})
	require.NoError(t, err)
	t.Logf("%d cuts, %d downloads taken up", tried, taken)
	require.Greater(t, taken, 20)
}

// finish runs the upgrade again to its trial, and tells how much of the download was there.
func finish(ctx context.Context, m *virtual.Machine, img *image.Image) (held int64, err error) {
	if _, err := m.Started(ctx); err != nil {
		return 0, err
	}
	sys, err := m.Open()
	if err != nil {
		return 0, err
	}
	p, err := sys.Plan(ctx, img, upgrade.Options{})
	if err != nil {
		return 0, err
	}
	for _, r := range p.Reused {
		held += r.Bytes
	}
	if _, err := sys.Apply(ctx, img, upgrade.Options{}); err != nil {
		return 0, err
	}
	if err := m.Boot(); err != nil {
		return 0, err
	}
	if !m.Last.Trial || m.Last.Slot != bootloader.B {
		return 0, fmt.Errorf("no trial: %s", m.Last)
	}
	return held, nil
}
