package upgrade_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

var onGRUB = []string{loaders.GRUBBIOS, loaders.GRUBUEFI}

func grubImage(t *testing.T, images *virtual.Images, version string) *image.Image {
	t.Helper()
	img, err := images.Image(version, virtual.Spec{GRUB: true, Size: 10_000})
	require.NoError(t, err)
	return img
}

func startGRUB(t *testing.T, loader string) *rig {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images}
	r.one = grubImage(t, images, "1.0.0")
	r.Machine, err = virtual.InstallOn(t.Context(), r.one, loader)
	require.NoError(t, err)
	r.boots(bootloader.A, "1.0.0")
	return r
}

// Others make a directory where UEFI looks for a loader; the machine starts from a BIOS all the same.
func TestAFileOfOthersWhereUEFIWouldLookOnABIOS(t *testing.T) {
	r := startGRUB(t, loaders.GRUBBIOS)
	f := r.bootFiles()
	if _, err := f.Stat("EFI/BOOT"); err != nil {
		require.NoError(t, f.Mkdir("EFI/BOOT"))
	}
	require.NoError(t, f.WriteFile("EFI/BOOT/notes.txt", []byte("notes")))
	require.Equal(t, bootloader.A, r.status().Loader.Default)
	r.upgrade(grubImage(t, r.images, "2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	r.boots(bootloader.B, "2.0.0")
	require.Empty(t, r.Vars.Values(), "no boot entry is made")
}

// A machine with a BIOS, and a loader of others where UEFI would look for one, also where the images bring no GRUB of
// their own: it is never replaced, and never advised away.
func TestALoaderOfOthersWhereUEFIWouldLookOnABIOS(t *testing.T) {
	for name, program := range map[string][]byte{
		"systemd-boot": loadertest.Loader("amd64"), "a shim": loadertest.Shim("amd64"),
		"another program": loadertest.Kernel("amd64", []byte("other")), "another GRUB": loadertest.GRUBEFIOf("theirs"),
		"for ARM": loadertest.Loader("arm64"), "no program": []byte("notes"),
	} {
		for _, brings := range []bool{true, false} {
			if !brings && (name == "a shim" || name == "another GRUB" || name == "no program") {
				continue // nothing tells it from a machine with UEFI, which is what it may be; nothing is replaced there
			}
			t.Run(fmt.Sprintf("%s, the image brings GRUB %v", name, brings), func(t *testing.T) {
				r := startGRUB(t, loaders.GRUBBIOS)
				if _, err := r.bootFiles().Stat("EFI/BOOT"); err != nil {
					require.NoError(t, r.bootFiles().Mkdir("EFI/BOOT"))
				}
				require.NoError(t, r.bootFiles().WriteFile("EFI/BOOT/BOOTX64.EFI", program))
				for _, to := range []bootloader.Slot{bootloader.B, bootloader.A} {
					version := "2.0.0-" + strings.ToLower(string(to))
					spec := virtual.Spec{GRUB: true, Size: 10_000, Loader: version}
					if !brings {
						spec.Assets = []pack.Asset{
							pack.Data(pack.KernelAsset, loadertest.LinuxImage([]byte("kernel of "+version+" "))),
							pack.Data(pack.InitrdAsset, []byte("070701 initramfs of "+version)),
							pack.Data(pack.CmdlineAsset, []byte("quiet\n")),
						}
					}
					img, err := r.images.Image(version, spec)
					require.NoError(t, err)
					_, err = r.Upgrade(t.Context(), img, upgrade.Options{Force: true})
					require.NoError(t, err)
					require.NoError(t, r.Boot())
					require.Equal(t, to, r.Last.Slot, "%v", r.Last)
					_, err = r.Started(t.Context())
					require.NoError(t, err)
					r.confirm()
					for _, force := range []bool{false, true} {
						_, _ = r.replace(upgrade.LoaderOptions{Force: force}) // the core image, where there is one
						got, err := r.bootFiles().ReadFile("EFI/BOOT/BOOTX64.EFI")
						require.NoError(t, err)
						require.Equal(t, program, got)
						for _, f := range r.diagnose().Findings {
							require.NotContains(t, fmt.Sprint(f), "EFI/BOOT")
							require.NotContains(t, fmt.Sprint(f), "shim")
						}
						require.Equal(t, loaders.GRUBBIOS, r.backend())
					}
					require.NoError(t, r.Boot())
					require.Equal(t, to, r.Last.Slot, "%v", r.Last)
				}
				require.Empty(t, r.Vars.Values())
			})
		}
	}
}

// backend is the loader that the machine is taken to have.
func (r *rig) backend() string {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	return m.Backend().Name()
}

// The whole life on GRUB: counted tries, evidence, the known-bad image, a confirmed upgrade, a rollback.
func TestLifeOnGRUB(t *testing.T) {
	for _, loader := range onGRUB {
		t.Run(loader, func(t *testing.T) {
			r := startGRUB(t, loader)
			two := grubImage(t, r.images, "1.1.0")
			_, err := r.Upgrade(t.Context(), two, upgrade.Options{Tries: 2})
			require.NoError(t, err)
			for range 2 {
				b := r.boots(bootloader.B, "1.1.0")
				require.True(t, b.Trial)
			}
			b := r.boots(bootloader.A, "1.0.0")
			require.Equal(t, attempt.FellBack, b.Attempt.Result)
			_, err = r.Upgrade(t.Context(), two, upgrade.Options{})
			require.ErrorIs(t, err, upgrade.ErrKnownBad)

			_, err = r.Upgrade(t.Context(), two, upgrade.Options{Force: true})
			require.NoError(t, err)
			r.boots(bootloader.B, "1.1.0")
			r.confirm()
			require.False(t, r.boots(bootloader.B, "1.1.0").Trial)
			require.Equal(t, two.Digest, r.status().Running().Manifest.Image)

			m, err := r.Open()
			require.NoError(t, err)
			_, err = m.Rollback(t.Context(), upgrade.Options{})
			require.NoError(t, err)
			r.boots(bootloader.A, "1.0.0")
			r.confirm()
		})
	}
}

func TestGRUBSaysWhyATrialWasNotTried(t *testing.T) {
	r := startGRUB(t, loaders.GRUBUEFI)
	_, err := r.Upgrade(t.Context(), grubImage(t, r.images, "1.1.0"), upgrade.Options{Tries: 3})
	require.NoError(t, err)
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Boot.Remove(bootloader.B.File(bootloader.InitrdFile)))
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, attempt.FellBack, b.Attempt.Result, "in the same boot")
	require.Contains(t, b.Attempt.Reason, "GRUB did not find all files of slot B")
	require.Empty(t, r.status().KnownBad)
}

func TestKernelsThatCannotBootAreRefused(t *testing.T) {
	r := startGRUB(t, loaders.GRUBBIOS)
	whole := loadertest.LinuxImage(make([]byte, 9000))
	for name, c := range map[string]struct{ kernel, cmdline []byte }{
		"cut short":           {whole[:5000], []byte("panic=1")},
		"no kernel":           {[]byte("random bytes where a kernel should be"), []byte("panic=1")},
		"a panic that hangs":  {whole, []byte("quiet panic=0")},
		"ours in the command": {whole, []byte("panic=1 pawl.slot=A")},
		"a quote inside":      {whole, []byte("panic=1 x='y'")},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := r.images.Image("1.1.0", virtual.Spec{Assets: []pack.Asset{
				pack.Data(pack.KernelAsset, c.kernel), pack.Data(pack.InitrdAsset, []byte("070701")),
				pack.Data(pack.CmdlineAsset, c.cmdline),
			}})
			require.NoError(t, err)
			_, err = r.Upgrade(t.Context(), img, upgrade.Options{})
			require.Error(t, err)
			require.Equal(t, bootloader.None, r.status().Loader.Armed)
		})
	}
	r.boots(bootloader.A, "1.0.0")
}

// An image for another loader is refused before anything is changed.
func TestImageForAnotherLoader(t *testing.T) {
	r := startGRUB(t, loaders.GRUBUEFI)
	before := r.status()
	_, err := r.Upgrade(t.Context(), r.image("1.1.0"), upgrade.Options{})
	require.ErrorIs(t, err, image.ErrNoAssets)
	require.ErrorContains(t, err, "initramfs.xz")
	require.Equal(t, before, r.status())

	_, err = virtual.InstallOn(t.Context(), r.image("1.2.0"), loaders.GRUBBIOS)
	require.ErrorIs(t, err, image.ErrNoAssets)
	_, err = virtual.InstallOn(t.Context(), grubImage(t, r.images, "1.3.0"), loaders.SystemdBoot)
	require.ErrorIs(t, err, image.ErrNoAssets)
}

func TestGRUBNeedsItsPartitions(t *testing.T) {
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	img := grubImage(t, images, "1.0.0")
	specs := virtual.Partitions()
	for name, o := range map[string]upgrade.InstallOptions{
		"partition 2": {Loader: grub.Backend{}, Partitions: append([]partition.Spec{specs[1], specs[0]},
			specs[2:]...)},
		"no BIOS boot partition": {Loader: grub.Backend{BIOS: true}, Partitions: append([]partition.Spec{specs[0]},
			specs[2:]...)},
		"no loader is given": {Partitions: specs},
	} {
		d := disktest.New(virtual.Size, 512)
		d.Record()
		require.ErrorContains(t, upgrade.Install(t.Context(), d, img, o), name)
		require.Empty(t, d.Trace().Ops)
	}
}

// What loader a disk has is found by its files, and the error says what was looked for and found.
func TestLoaderOfADiskIsFound(t *testing.T) {
	r := startGRUB(t, loaders.GRUBUEFI)
	require.Equal(t, "GRUB", r.status().Loader.Loader)
	layout, err := partition.Read(r.Disk)
	require.NoError(t, err)
	p, err := layout.Find("EFI")
	require.NoError(t, err)
	boot, err := bootfs.Open(partition.Section(r.Disk, p), bootfs.Options{})
	require.NoError(t, err)
	require.NoError(t, boot.Mkdir("loader"))
	require.NoError(t, boot.WriteFile("loader/loader.conf", []byte("timeout 0\n")))
	_, err = r.Open()
	require.ErrorIs(t, err, bootloader.ErrNotFound)
	require.ErrorContains(t, err, "files of systemd-boot, grub-uefi are both there")
	require.NoError(t, boot.Remove("loader/loader.conf"))
	require.NoError(t, boot.Remove("grub/grub.cfg"))
	_, err = r.Open()
	require.ErrorIs(t, err, bootloader.ErrNotFound)
	require.ErrorContains(t, err, "files of none of systemd-boot, grub-bios, grub-uefi, grub are there, the boot file "+
		"system has EFI")
}

// The same seed, clock and image give the same disk.
func TestGRUBDisksAreReproducible(t *testing.T) {
	for _, loader := range onGRUB {
		images, err := virtual.NewImages(t.Context(), t.TempDir())
		require.NoError(t, err)
		img := grubImage(t, images, "1.0.0")
		var disks [2][]byte
		for i := range disks {
			m, err := virtual.InstallOn(t.Context(), img, loader)
			require.NoError(t, err)
			disks[i] = make([]byte, virtual.Size)
			_, err = m.Disk.ReadAt(disks[i], 0)
			require.NoError(t, err)
		}
		require.True(t, string(disks[0]) == string(disks[1]))
	}
}
