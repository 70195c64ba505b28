package upgrade_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// The whole life on systemd-boot of systems that are a kernel and an initramfs, and the way to a UKI and back.
func TestLifeOfKernelsOnSystemdBoot(t *testing.T) {
	r := startKernels(t)
	two := r.made("1.1.0", virtual.Spec{Kernel: true, Cmdline: "quiet"})
	_, err := r.Upgrade(t.Context(), two, upgrade.Options{Tries: 2})
	require.NoError(t, err)
	for range 2 {
		require.True(t, r.boots(bootloader.B, "1.1.0").Trial)
		require.Equal(t, `initrd=\EFI\pawl\B\initrd pawl.slot=B pawl.boot=`,
			r.Last.Cmdline[:len(`initrd=\EFI\pawl\B\initrd pawl.slot=B pawl.boot=`)])
		require.True(t, strings.HasSuffix(r.Last.Cmdline, " panic=10 quiet"), r.Last.Cmdline)
	}
	require.Equal(t, attempt.FellBack, r.boots(bootloader.A, "1.0.0").Attempt.Result)

	_, err = r.Upgrade(t.Context(), two, upgrade.Options{Force: true})
	require.NoError(t, err)
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
	require.False(t, r.boots(bootloader.B, "1.1.0").Trial)

	r.upgrade(r.image("1.2.0"))
	r.boots(bootloader.A, "1.2.0")
	require.Equal(t, bootloader.A.File(bootloader.UKIFile), r.Last.Path)
	r.confirm()
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Rollback(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	r.boots(bootloader.B, "1.1.0")
	require.Equal(t, bootloader.B.File(bootloader.KernelFile), r.Last.Path)
	r.confirm()
	r.boots(bootloader.B, "1.1.0")
}

func startKernels(t *testing.T) *rig {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images}
	r.one = r.made("1.0.0", virtual.Spec{Kernel: true})
	r.Machine, err = virtual.Install(t.Context(), r.one)
	require.NoError(t, err)
	r.boots(bootloader.A, "1.0.0")
	return r
}

// Of an image with both kinds of system the UKI is taken, whether it says beforehand what it has or not.
func TestUKIIsPreferred(t *testing.T) {
	for name, says := range map[string]bool{"with a list": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			r := startKernels(t)
			img := r.made("1.1.0", virtual.Spec{Both: true, Size: 10_000})
			if !says {
				img.Assets = nil
			}
			r.upgrade(img)
			r.boots(bootloader.B, "1.1.0")
			require.Equal(t, bootloader.B.File(bootloader.UKIFile), r.Last.Path)
			m, err := r.Open()
			require.NoError(t, err)
			files, err := m.Boot.ReadDir(bootloader.B.Dir())
			require.NoError(t, err)
			require.Len(t, files, 3, "the UKI, the loader and the manifest")

			kernel := r.made("1.1.1", virtual.Spec{Kernel: true})
			if !says {
				kernel.Assets = nil
			}
			r.confirm()
			r.upgrade(kernel)
			r.boots(bootloader.A, "1.1.1")
		})
	}
}

// An entry is one sector: arguments that fill it boot, one byte more is refused before anything is written, and an
// image that does not say how long they are is refused before the loader knows of it.
func TestKernelArgumentsFitTheEntry(t *testing.T) {
	r := startKernels(t)
	m, err := r.Open()
	require.NoError(t, err)
	room := m.Loader.(*sdboot.Loader).ArgumentsRoom("1.1.0")
	require.Greater(t, room, 256)
	fill := func(n int) virtual.Spec {
		return virtual.Spec{Kernel: true, Cmdline: "panic=1 x=" + strings.Repeat("y", n-10)}
	}

	long := r.made("1.1.0", fill(room+1))
	r.Disk.Record()
	_, err = m.Plan(t.Context(), long, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrUnfit)
	require.ErrorContains(t, err, "systemd-boot has room for")
	_, err = r.Upgrade(t.Context(), long, upgrade.Options{Force: true})
	require.ErrorIs(t, err, upgrade.ErrUnfit)
	require.Empty(t, r.Disk.Trace().Ops)

	long.Assets = nil
	_, err = r.Upgrade(t.Context(), long, upgrade.Options{Force: true})
	require.ErrorIs(t, err, upgrade.ErrUnfit)
	require.ErrorContains(t, err, "at most")
	require.Equal(t, []bootloader.Slot{bootloader.A}, r.status().Loader.Bootable)

	_, err = r.Upgrade(t.Context(), r.made("1.1.0", fill(room)), upgrade.Options{})
	require.NoError(t, err)
	r.boots(bootloader.B, "1.1.0")
	require.True(t, strings.HasSuffix(r.Last.Cmdline, "yyyy"))
	r.confirm()
	r.boots(bootloader.B, "1.1.0")
}

func TestKernelsThatSystemdBootCannotStartAreRefused(t *testing.T) {
	r := startKernels(t)
	bz := make([]byte, 9000)
	copy(bz[0x1fe:], "\x55\xaa\x00\x00HdrS")
	for name, c := range map[string]struct{ kernel, cmdline, says string }{
		"without an EFI stub": {string(bz), "", "no EFI program"},
		"a panic that hangs":  {"", "panic=0", "hangs for ever"},
		"ours in the command": {"", "panic=1 pawl.slot=A", "Pawl's own"},
		"a line end inside":   {"", "panic=1 x=\"a\nb\"", "line end"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := virtual.Spec{Kernel: true, Cmdline: c.cmdline}
			if c.kernel != "" {
				spec = virtual.Spec{Assets: []pack.Asset{pack.Data(pack.KernelAsset, []byte(c.kernel)),
					pack.Data(pack.InitrdAsset, []byte("070701"))}}
			}
			_, err := r.Upgrade(t.Context(), r.made("1.1.0", spec), upgrade.Options{})
			require.ErrorContains(t, err, c.says)
			require.Equal(t, bootloader.None, r.status().Loader.Armed)
		})
	}
	r.boots(bootloader.A, "1.0.0")
}
