package upgrade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

const behindShim = "EFI/BOOT/grubx64.efi"

// shimmed puts a shim in front of the loader of a machine.
func (r *rig) shimmed(shim []byte) {
	r.t.Helper()
	r.put(behindShim, r.installed())
	r.put("EFI/BOOT/BOOTX64.EFI", shim)
}

// withShim is an image with another loader, and a shim.
func (r *rig) withShim(version, loader string, shim []byte) *image.Image {
	r.t.Helper()
	return r.made(version, virtual.Spec{Size: 10_000, Loader: loader, Shim: shim, GRUB: r.Loader == loaders.GRUBUEFI})
}

// Behind a shim the loader is confirmed and replaced like any other, by way of the shim that came with it; what
// firmware starts stays. Whatever of it is gone, the firmware goes on to the copy.
func TestLoaderBehindAShim(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			shim, old := loadertest.Shim("amd64"), r.installed()
			r.shimmed(shim)
			r.boots(bootloader.A, "1.0.0")
			r.movedTo(bootloader.B, r.withShim("2.0.0", "253.1", shim))
			r.installs(bootloader.B, "2.0.0") // which BOOTX64.EFI outlives
			require.Equal(t, shim, r.installed())
			loader := r.file("EFI/pawl/B/loader.efi")
			require.NotEqual(t, old, loader)
			require.Equal(t, loader, r.file(behindShim))
			require.Empty(t, r.status().Warnings)
			r.boots(bootloader.B, "2.0.0")
			name, err := bootCurrent(r.Vars)
			require.NoError(t, err)
			require.NotEqual(t, "Pawl (spare loader)", name)

			for _, gone := range [][]string{{behindShim}, {"EFI/BOOT/BOOTX64.EFI"}, {behindShim, "EFI/BOOT/BOOTX64.EFI"}} {
				for _, path := range gone {
					require.NoError(t, r.bootFiles().Remove(path))
				}
				r.boots(bootloader.B, "2.0.0")
				name, err := bootCurrent(r.Vars)
				require.NoError(t, err)
				require.Equal(t, "Pawl (spare loader)", name, "without %s", gone)
				_, err = r.replace(upgrade.LoaderOptions{})
				require.NoError(t, err)
				require.Equal(t, shim, r.installed(), "without %s", gone)
				require.Equal(t, loader, r.file(behindShim), "without %s", gone)
			}
			r.Disk.Record()
			_, err = r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.Empty(t, r.Disk.Trace().Writes(), "nothing to do writes nothing")
			r.boots(bootloader.B, "2.0.0")
		})
	}
}

// What is left behind a shim, and why; and that nothing makes firmware, or the shim, refuse what lies there.
func TestLoaderBehindAShimIsLeft(t *testing.T) {
	vendor, platform, others := newKey(t, "vendor"), newKey(t, "platform"), newKey(t, "others")
	must := func(program []byte, err error) []byte {
		require.NoError(t, err)
		return program
	}
	bare := loadertest.ShimOf("amd64", vendor.Certificate.Raw)
	shim, later := must(platform.Sign(bare)), must(platform.Sign(append(bare, make([]byte, 512)...)))
	loader := loadertest.LoaderOf("amd64", "253.1")
	good := must(vendor.Sign(loader))
	for name, c := range map[string]struct {
		loader, shim []byte
		is           error
		says         string
		force        bool // replaces it, and the shim
	}{
		"the image has no shim": {loader: good, is: bootloader.ErrNotOurs, says: "brings none"},
		"another shim": {loader: good, shim: later, is: bootloader.ErrNotOurs,
			says: "not the one of this version", force: true},
		"a shim that firmware refuses": {loader: good, shim: must(others.Sign(bare)), is: bootloader.ErrForbidden,
			says: `but by "others"`},
		"a loader that the shim refuses": {loader: must(others.Sign(loader)), shim: shim, is: bootloader.ErrForbidden,
			says: "behind the shim it is not started"},
		"a shim for another machine": {loader: good, shim: loadertest.Shim("arm64"), is: bootloader.ErrMachine,
			says: "the shim of this version"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			old := must(vendor.Sign(r.installed()))
			r.movedTo(bootloader.B, r.made("1.1.0", virtual.Spec{Size: 10_000, Own: old}))
			r.movedTo(bootloader.A, r.made("1.2.0", virtual.Spec{Size: 10_000, Own: old}))
			r.put("EFI/BOOT/BOOTX64.EFI", old)
			r.shimmed(shim)
			r.movedTo(bootloader.B, r.made("2.0.0", virtual.Spec{Size: 10_000, Sign: vendor.Sign, Own: c.loader,
				Shim: c.shim}))
			r.trusts(nil, platform)
			mok, err := secureboot.Encode(secureboot.Of(secureboot.TypeX509, vendor.Certificate.Raw))
			require.NoError(t, err)
			for name, data := range map[string][]byte{"MokListRT": mok, "SbatLevelRT": []byte("sbat,1,2025021800\n")} {
				require.NoError(t, r.Vars.Write(secureboot.Mok(name), efivar.Variable{Attributes: 6, Data: data}))
			}
			r.boots(bootloader.B, "2.0.0")
			require.Empty(t, r.diagnose().Assumes)
			_, err = r.replace(upgrade.LoaderOptions{})
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, shim, r.installed())
			require.Equal(t, old, r.file(behindShim))
			if bootloader.NeverStarts(c.is) || c.force {
				_, err = r.replace(upgrade.LoaderOptions{Force: true})
				require.Equal(t, c.force, err == nil, "%v", err)
			}
			if c.force {
				require.Equal(t, c.shim, r.installed())
				require.Equal(t, c.loader, r.file(behindShim))
			} else {
				require.Equal(t, shim, r.installed())
				require.Equal(t, old, r.file(behindShim))
			}
			r.boots(bootloader.B, "2.0.0")
		})
	}
}

// An image with a shim is installed so that firmware starts that one.
func TestInstallBehindAShim(t *testing.T) {
	for _, loader := range onUEFI {
		r := onLoader(t, loader)
		shim := loadertest.Shim("amd64")
		var err error
		r.Machine, err = virtual.InstallOn(t.Context(), r.withShim("1.1.0", "253.1", shim), loader)
		require.NoError(t, err)
		require.Equal(t, shim, r.installed())
		r.boots(bootloader.A, "1.1.0")
		require.True(t, r.status().Own.Same)
	}
}

// Cut at every write of a replacement behind a shim, the version boots, and run again it is done.
func TestLoaderReplacementBehindAShimCutAnywhere(t *testing.T) {
	for _, block := range []int{512, 4096} {
		t.Run(fmt.Sprintf("blocks of %d", block), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			shim := loadertest.Shim("amd64")
			r.shimmed(shim)
			r.movedTo(bootloader.B, r.withShim("2.0.0", "253.1", shim))
			_, err := r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			r.boots(bootloader.B, "2.0.0")
			r.record()
			_, err = r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			r.cutLoader(disktest.Options{Seed: 1, Block: block, Exhaustive: 5, Destroyed: 128, Samples: 16})
		})
	}
}
