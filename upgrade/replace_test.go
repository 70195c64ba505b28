package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// with is an image whose loader is another one.
func (r *rig) with(version, loader string) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, virtual.Spec{Size: 10_000, Loader: loader, GRUB: r.Loader != "" &&
		r.Loader != loaders.SystemdBoot})
	require.NoError(r.t, err)
	return img
}

// movedTo upgrades the machine to an image and confirms it, and boots it once more.
func (r *rig) movedTo(s bootloader.Slot, img *image.Image) {
	r.t.Helper()
	_, err := r.Upgrade(r.t.Context(), img, upgrade.Options{Force: true})
	require.NoError(r.t, err)
	require.True(r.t, r.boots(s, img.Version).Trial)
	r.confirm()
}

func (r *rig) replace(o upgrade.LoaderOptions) (report.Loader, error) {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	return m.ReplaceLoader(r.t.Context(), o)
}

// installs has the new loader start the machine once, and then installs it.
func (r *rig) installs(s bootloader.Slot, version string) report.Loader {
	r.t.Helper()
	before := r.installed()
	got, err := r.replace(upgrade.LoaderOptions{})
	require.NoError(r.t, err)
	require.True(r.t, got.Waits)
	require.Equal(r.t, before, r.installed(), "not before it has started once")
	r.boots(s, version)
	name, err := bootCurrent(r.Vars)
	require.NoError(r.t, err)
	require.Equal(r.t, "Pawl (spare loader)", name)
	got, err = r.replace(upgrade.LoaderOptions{})
	require.NoError(r.t, err)
	require.True(r.t, got.Same)
	return got
}

func (r *rig) installed() []byte {
	r.t.Helper()
	data, err := r.bootFiles().ReadFile("EFI/BOOT/BOOTX64.EFI")
	require.NoError(r.t, err)
	return data
}

var onUEFI = []string{loaders.SystemdBoot, loaders.GRUBUEFI}

func TestLoaderIsReplacedAfterAConfirm(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			old := r.installed()
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			require.Equal(t, old, r.installed(), "not before it is asked for")
			s := r.status()
			require.False(t, s.Own.Same)
			require.NoError(t, s.Own.Left)
			require.Contains(t, s.Warnings, s.Own.String())

			r.installs(bootloader.B, "2.0.0")
			require.NotEqual(t, old, r.installed())
			require.Empty(t, r.status().Warnings)
			r.boots(bootloader.B, "2.0.0")

			// Without the file, the firmware goes on to the copy in the slot.
			require.NoError(t, r.bootFiles().Remove("EFI/BOOT/BOOTX64.EFI"))
			r.boots(bootloader.B, "2.0.0")
			require.NotEmpty(t, r.status().Warnings)
			_, err := r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err, "it is put back")
			r.boots(bootloader.B, "2.0.0")

			// And so it is with an upgrade that brings no other loader.
			r.movedTo(bootloader.A, r.with("3.0.0", "253.1"))
			got, err := r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.True(t, got.Same)
			r.Disk.Record()
			_, err = r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.Empty(t, r.Disk.Trace().Writes(), "nothing to do writes nothing")
			require.NoError(t, r.bootFiles().Remove("EFI/BOOT/BOOTX64.EFI"))
			require.NoError(t, r.bootFiles().Remove("EFI/pawl/B/loader.efi"))
			r.boots(bootloader.A, "3.0.0")
		})
	}
}

// A machine that went back keeps the newer loader.
func TestLoaderIsNotReplacedByAnOlderOne(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.installs(bootloader.B, "2.0.0")
			newer := r.installed()
			m, err := r.Open()
			require.NoError(t, err)
			_, err = m.Rollback(t.Context(), upgrade.Options{})
			require.NoError(t, err)
			r.boots(bootloader.A, "1.0.0")
			r.confirm()
			_, err = r.replace(upgrade.LoaderOptions{})
			require.ErrorIs(t, err, bootloader.ErrOlder)
			require.Equal(t, newer, r.installed())
			require.Empty(t, r.status().Warnings, "nothing is wrong")
			_, err = r.replace(upgrade.LoaderOptions{Force: true})
			require.NoError(t, err)
			require.NotEqual(t, newer, r.installed())
			r.boots(bootloader.A, "1.0.0")
		})
	}
}

func TestLoaderIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		make func(r *rig)
		want string
		is   error
	}{
		"on a trial": {func(r *rig) {
			r.upgrade(r.with("3.0.0", "254"))
			r.boots(bootloader.A, "3.0.0")
		}, "confirm it", upgrade.ErrTrial},
		"while a slot is armed": {func(r *rig) { r.upgrade(r.with("3.0.0", "254")) }, "slot A is armed", nil},
		"no entry of ours in the order": {func(r *rig) {
			require.NoError(r.t, r.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
				Data: efivar.EncodeNumbers(1)}))
		}, "has no entry of ours yet", bootloader.ErrRisk},
		"another system in front": {func(r *rig) {
			require.NoError(r.t, r.bootFiles().WriteFile("EFI/other.efi", []byte("MZ")))
			r.option(7, "Other", `\EFI\other.efi`)
			r.numbers("BootOrder", 7, 1)
		}, `Boot0007 "Other" comes before our loader`, bootloader.ErrForeign},
		"a copy that is not what the manifest says": {func(r *rig) { r.flip("EFI/pawl/B/loader.efi") },
			"read EFI/pawl/B/loader.efi back", nil},
		"a copy that is no loader": {func(r *rig) {
			require.NoError(r.t, r.bootFiles().WriteFile("EFI/pawl/B/loader.efi", r.installed()[:700]))
		}, "EFI/pawl/B/loader.efi", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			before := r.installed()
			c.make(r)
			_, err := r.replace(upgrade.LoaderOptions{})
			require.ErrorContains(t, err, c.want)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.Equal(t, before, r.installed())
		})
	}
}

// Firmware that takes no variable: nothing is written, and Status says so.
func TestLoaderIsLeftWithoutVariables(t *testing.T) {
	r := start(t)
	r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
	open := func() *upgrade.Machine {
		m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: readOnly{r.Vars},
			Cmdline: new(string), BootID: "x", Version: "2.0.0"})
		require.NoError(t, err)
		return m
	}
	r.Disk.Record()
	_, err := open().ReplaceLoader(t.Context(), upgrade.LoaderOptions{})
	require.ErrorIs(t, err, bootloader.ErrRisk)
	require.ErrorIs(t, err, bootloader.ErrNoVariables)
	require.Empty(t, r.Disk.Trace().Ops)
	s, err := open().Status()
	require.NoError(t, err)
	require.ErrorIs(t, s.Own.Left, bootloader.ErrRisk)
	require.Contains(t, s.Warnings, s.Own.String())
	_, err = open().ReplaceLoader(t.Context(), upgrade.LoaderOptions{Force: true})
	require.NoError(t, err)
	r.boots(bootloader.B, "2.0.0")
	require.True(t, r.status().Own.Same)
}

// A disk that was installed when EFI/BOOT was no zone.
func TestLoaderIsLeftWhereItIsNotApart(t *testing.T) {
	r := start(t)
	r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
	old := r.installed()
	layout, err := partition.Read(r.Disk)
	require.NoError(t, err)
	p, err := layout.Find("EFI")
	require.NoError(t, err)
	f, err := bootfs.Open(partition.Section(r.Disk, p), bootfs.Options{Zones: bootloader.Zones()[:2], Now: virtual.Now})
	require.NoError(t, err)
	for _, path := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT"} {
		require.NoError(t, f.Remove(path))
	}
	require.NoError(t, f.Mkdir("EFI/BOOT"))
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", old))
	_, err = r.replace(upgrade.LoaderOptions{})
	require.ErrorIs(t, err, bootfs.ErrShared)
	require.ErrorContains(t, err, "laid out by an earlier version")
	r.boots(bootloader.B, "2.0.0")
	r.movedTo(bootloader.A, r.with("3.0.0", "253.1"))
	r.boots(bootloader.A, "3.0.0")
}

// GRUB on BIOS: the core image goes into the other half, back and forth, when it is forced.
func TestCoreImageIsReplacedWhenForced(t *testing.T) {
	r := startGRUB(t, loaders.GRUBBIOS)
	require.True(t, r.status().Own.Same)
	for i, s := range []bootloader.Slot{bootloader.B, bootloader.A, bootloader.B} {
		r.movedTo(s, r.with(fmt.Sprintf("2.%d.0", i), fmt.Sprintf("core%d", i)))
		r.Disk.Record()
		_, err := r.replace(upgrade.LoaderOptions{})
		require.ErrorIs(t, err, bootloader.ErrRisk)
		require.Empty(t, r.Disk.Trace().Ops)
		require.Contains(t, r.status().Warnings, r.status().Own.String())
		got, err := r.replace(upgrade.LoaderOptions{Force: true})
		require.NoError(t, err)
		require.True(t, got.Same)
		r.boots(s, fmt.Sprintf("2.%d.0", i))
	}
}

// A disk of which only partitions are open has no place for it, and the error says so.
func TestCoreImageNeedsTheWholeDisk(t *testing.T) {
	r := startGRUB(t, loaders.GRUBBIOS)
	r.movedTo(bootloader.B, r.with("2.0.0", "another core"))
	path := filepath.Join(t.TempDir(), "disk.raw")
	content := make([]byte, r.Disk.Size())
	_, err := r.Disk.ReadAt(content, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	open := func(whole bool) *upgrade.Machine {
		m, err := upgrade.Open(path, upgrade.OpenOptions{Loaders: loaders.All(), Whole: whole, Vars: efivar.NewMemory(),
			Cmdline: &r.Last.Cmdline, BootID: "x", Version: "2.0.0"})
		require.NoError(t, err)
		require.True(t, m.InWholeDisk())
		return m
	}
	m := open(false)
	_, err = m.ReplaceLoader(t.Context(), upgrade.LoaderOptions{Force: true})
	require.ErrorContains(t, err, "core image: write ")
	require.NoError(t, m.Close())
	m = open(true)
	s, err := m.ReplaceLoader(t.Context(), upgrade.LoaderOptions{Force: true})
	require.NoError(t, err)
	require.True(t, s.Same)
	require.NoError(t, m.Close())
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	_, err = r.Disk.WriteAt(content, 0)
	require.NoError(t, err)
	r.boots(bootloader.B, "2.0.0")
}

// An image need not have a loader; then the one that is installed stays.
func TestImageWithoutALoaderLeavesTheInstalledOne(t *testing.T) {
	r := start(t)
	img, err := r.images.Image("2.0.0", virtual.Spec{Size: 10_000})
	require.NoError(t, err)
	uki := []byte(nil)
	require.NoError(t, img.Extract(t.Context(), func(a image.Asset, in io.Reader) (err error) {
		if a.Name == pack.UKIAsset {
			uki, err = io.ReadAll(in)
		}
		return err
	}, nil))
	bare, err := r.images.Image("2.0.0", virtual.Spec{Assets: []pack.Asset{pack.Data(pack.UKIAsset, uki)}})
	require.NoError(t, err)
	before := r.installed()
	r.movedTo(bootloader.B, bare)
	s, err := r.replace(upgrade.LoaderOptions{})
	require.NoError(t, err)
	require.Empty(t, s.Own)
	require.Contains(t, s.String(), "has brought no loader")
	require.Equal(t, before, r.installed())
	require.Empty(t, r.status().Warnings)
	r.boots(bootloader.B, "2.0.0")
}

// Cut at every write, with every block of a gap old, new, destroyed or unreadable: the version boots; the loader is
// old, new or the copy; run again, it is done.
func TestLoaderReplacementCutAnywhere(t *testing.T) {
	for _, loader := range onUEFI {
		for _, block := range []int{512, 4096} {
			t.Run(fmt.Sprintf("%s, blocks of %d", loader, block), func(t *testing.T) {
				t.Parallel()
				r := onLoader(t, loader)
				r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
				_, err := r.replace(upgrade.LoaderOptions{})
				require.NoError(t, err)
				r.boots(bootloader.B, "2.0.0")
				r.record()
				_, err = r.replace(upgrade.LoaderOptions{})
				require.NoError(t, err)
				r.cutLoader(disktest.Options{Seed: 1, Block: block, Exhaustive: 9, Destroyed: 512, Samples: 64})
			})
		}
	}
}

// cutLoader cuts what was recorded of a replacement in slot B: the version boots; run again, it is done.
func (r *rig) cutLoader(o disktest.Options) {
	r.t.Helper()
	disks, copies := 0, 0
	again := map[string]bool{}
	err := r.Disk.Trace().Crashes(o, func(c *disktest.Crash) error {
		disks++
		vars, err := efivar.LoadMemory(c.Atomics())
		if err != nil {
			return err
		}
		m := &virtual.Machine{Disk: c.Device(), Vars: vars, Loader: r.Loader, Boots: r.Boots}
		if err := m.Boot(); err != nil {
			return err
		}
		if m.Last.Slot != bootloader.B || m.Last.Trial {
			return fmt.Errorf("%v: %v", c, m.Last)
		}
		n, err := bootCurrent(vars)
		if err != nil {
			return err
		}
		if n == "Pawl (spare loader)" {
			copies++
		}
		destroyed, unreadable := c.Destroyed()
		kind := fmt.Sprint(c.Index, n, destroyed, unreadable)
		if again[kind] {
			return nil
		}
		again[kind] = true
		return finishLoader(r.t.Context(), m, c)
	})
	require.NoError(r.t, err)
	r.t.Logf("disks=%d, started from the copy: %d, run again: %d", disks, copies, len(again))
	require.Positive(r.t, copies)
}

// finishLoader runs the replacement again in the boot after a cut.
func finishLoader(ctx context.Context, m *virtual.Machine, c *disktest.Crash) error {
	if _, err := m.Started(ctx); err != nil {
		return fmt.Errorf("%v: started: %w", c, err)
	}
	sys, err := m.Open()
	if err != nil {
		return err
	}
	s, err := sys.ReplaceLoader(ctx, upgrade.LoaderOptions{})
	if err != nil || !s.Same {
		return fmt.Errorf("%v: run again: %v, %w", c, s, err)
	}
	problems, err := sys.Boot.Check()
	if err != nil || slices.ContainsFunc(problems, func(p bootfs.Problem) bool { return p.Path != "" }) {
		return fmt.Errorf("%v: %v, %w", c, problems, err)
	}
	if err := m.Boot(); err != nil {
		return err
	}
	if name, err := bootCurrent(m.Vars); m.Last.Slot != bootloader.B || err != nil || name == "Pawl (spare loader)" {
		return errors.Join(fmt.Errorf("%v: afterwards: %v, by %s", c, m.Last, name), err)
	}
	return nil
}

// bootCurrent is what the option is called that started this boot.
func bootCurrent(vars *efivar.Memory) (string, error) {
	v, err := vars.Read(efivar.Global("BootCurrent"))
	if err != nil {
		return "", err
	}
	n, err := efivar.DecodeNumber(v.Data)
	if err != nil {
		return "", err
	}
	if v, err = vars.Read(efivar.Boot(n)); err != nil {
		return "", err
	}
	o, err := efivar.DecodeLoadOption(v.Data)
	return o.Description, err
}
