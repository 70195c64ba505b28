package upgrade_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func TestKernelOfASlot(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	m.Cmdline = "BOOT_IMAGE=x pawl.slot=B pawl.boot=1234 pawl.canary=7 quiet"
	k, err := m.Kernel(bootloader.A)
	require.NoError(t, err)
	require.Equal(t, "pawl.slot=A pawl.start=kexec pawl.boot=1234 pawl.canary=7 console=ttyS0 panic=1", k.Cmdline)
	require.Positive(t, k.Linux.Size())
	_, err = m.Kernel(bootloader.B)
	require.ErrorIs(t, err, upgrade.ErrNotComplete)
}

// TestKernelHasTheArgumentsThatTheLoaderGives, but for those by which either tells what it did.
func TestKernelHasTheArgumentsThatTheLoaderGives(t *testing.T) {
	for _, loader := range append([]string{loaders.SystemdBoot}, onGRUB...) {
		t.Run(loader, func(t *testing.T) {
			r := start(t)
			if loader != loaders.SystemdBoot {
				r = startGRUB(t, loader)
			}
			m, err := r.Open()
			require.NoError(t, err)
			k, err := m.Kernel(bootloader.A)
			require.NoError(t, err)
			given := slices.DeleteFunc(strings.Fields(r.Last.Cmdline),
				func(a string) bool { return strings.HasPrefix(a, "BOOT_IMAGE=") })
			loaded := strings.Fields(k.Cmdline)
			if loader == loaders.SystemdBoot {
				given = []string{"pawl.slot=A", "console=ttyS0",
					"panic=1"} // what the UKI holds, as its stub would take it
			}
			require.ElementsMatch(t, append(given, "pawl.start=kexec"), loaded)
			require.Contains(t, loaded, "pawl.slot=A")
			require.Equal(t, loader != loaders.SystemdBoot, k.Initrd != nil)
		})
	}
}

// TestTrialByKexec: nothing is armed in the loader, so the firmware comes back to the default whatever happens.
func TestTrialByKexec(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Prepare(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	a, err := m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	require.Equal(t, attempt.Armed, a.State)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	again, err := m.Arm(t.Context(), upgrade.Options{})
	require.NoError(t, err, "the kernel could not be started")
	require.Equal(t, a.ID, again.ID)
	require.Equal(t, bootloader.B, r.status().Loader.Armed)
	_, err = m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, attempt.NotKnown, b.Attempt.Reason)
}

// jumped returns a machine that runs the trial of version 2 in slot B, started by kexec.
func jumped(t *testing.T, loader string) *rig {
	t.Helper()
	r := start(t)
	two := r.image("2.0.0")
	if loader != loaders.SystemdBoot {
		r = startGRUB(t, loader)
		two = grubImage(t, r.images, "2.0.0")
	}
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Prepare(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	_, err = m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	k, err := m.Kernel(bootloader.B)
	require.NoError(t, err)
	r.Boots++
	r.Last.Slot, r.Last.Cmdline = bootloader.B, k.Cmdline
	r.Last.Path = bootloader.B.File(path.Base(r.Last.Path))
	b, err := r.Started(t.Context())
	require.NoError(t, err)
	require.True(t, b.Trial)
	return r
}

func TestTrialByKexecIsConfirmedWhenTheFirmwareWouldStartIt(t *testing.T) {
	for _, loader := range loaders.Names() {
		r := jumped(t, loader)
		r.confirm()
		require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
	}
}

// A kernel that runs because it was loaded before its file was damaged, or past what the firmware would do, is not
// confirmed: nothing changes, and the old version comes back.
func TestTrialByKexecThatCannotColdBootIsNotConfirmed(t *testing.T) {
	cut := func(name string) func(*rig) {
		return func(r *rig) {
			boot := r.bootFiles()
			data, err := boot.ReadFile(bootloader.B.File(name))
			require.NoError(r.t, err)
			require.NoError(r.t, boot.WriteFile(bootloader.B.File(name), data[:len(data)/2]))
			r.amend(boot, name, len(data)/2)
		}
	}
	for name, c := range map[string]struct {
		loader string
		damage func(*rig)
		want   string
	}{
		"a UKI that is cut short": {loaders.SystemdBoot, cut(bootloader.UKIFile), "The firmware ends in its shell"},
		"a UKI that loads and is another": {loaders.SystemdBoot, func(r *rig) {
			boot := r.bootFiles()
			data, err := boot.ReadFile(bootloader.B.File(bootloader.UKIFile))
			require.NoError(r.t, err)
			data[len(data)-1] ^= 1
			require.NoError(r.t, boot.WriteFile(bootloader.B.File(bootloader.UKIFile), data))
		}, "Its os.efi is not what its manifest says"},
		"a kernel that is cut short": {loaders.GRUBUEFI, cut(bootloader.KernelFile), "cut short"},
		"Secure Boot, of which nobody knows whom it trusts": {loaders.SystemdBoot, func(r *rig) {
			v := efivar.Variable{Attributes: efivar.BootService | efivar.Runtime, Data: []byte{1}}
			require.NoError(r.t, r.Vars.Write(efivar.Global("SecureBoot"), v))
		}, "It is not known whether the firmware accepts its signature: EFI/BOOT/BOOTX64.EFI"},
		"something else in front": {loaders.SystemdBoot, func(r *rig) {
			boot := r.bootFiles()
			require.NoError(r.t, boot.WriteFile("EFI/other.efi", loadertest.Kernel("amd64", []byte("other"))))
			r.option(7, "Other", `\EFI\other.efi`)
			r.numbers("BootOrder", 7)
		}, `for Boot0007 "Other". EFI/other.efi starts`},
	} {
		t.Run(name, func(t *testing.T) {
			r := jumped(t, c.loader)
			c.damage(r)
			r.Disk.Record()
			m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
				Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0", Now: virtual.Now})
			require.NoError(t, err)
			_, err = m.Confirm(t.Context(), upgrade.Options{})
			require.ErrorIs(t, err, upgrade.ErrCold)
			require.ErrorContains(t, err, c.want)
			for _, op := range r.Disk.Trace().Ops {
				require.Equal(t, disktest.Flush, op.Action, "nothing is written")
			}
			st, err := m.Loader.State()
			require.NoError(t, err)
			require.Equal(t, bootloader.A, st.Default)
		})
	}
}

func TestTrialByKexecNeedsTheDiskToBeConfirmed(t *testing.T) {
	r := jumped(t, loaders.SystemdBoot)
	m, err := r.Open()
	require.NoError(t, err)
	m.Disk = nil
	_, err = m.Confirm(t.Context(), upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrCold)

	// The mark on the command line is enough; so is META.
	m, err = r.Open()
	require.NoError(t, err)
	m.Disk, m.Cmdline = nil, ""
	_, err = m.Confirm(t.Context(), upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrCold)
}

// What a panic does is said by panic=N and by nothing else that ends so.
func TestArgumentsThatEndLikePanic(t *testing.T) {
	r := startKernels(t)
	r.upgrade(r.made("1.1.0", virtual.Spec{Kernel: true, Cmdline: "quiet softlockup_panic=1 -- panic=0"}))
	r.boots(bootloader.B, "1.1.0")
	m, err := r.Open()
	require.NoError(t, err)
	k, err := m.Kernel(bootloader.B)
	require.NoError(t, err)
	require.Contains(t, k.Cmdline, " panic=10 quiet softlockup_panic=1")
	require.Contains(t, r.Last.Cmdline, " panic=10 quiet softlockup_panic=1")
}

// A file that no manifest lists is started by nobody.
func TestKernelIsTheOneThatTheManifestLists(t *testing.T) {
	r := startKernels(t)
	r.upgrade(r.made("1.1.0", virtual.Spec{Kernel: true}))
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
	require.NoError(t, r.bootFiles().WriteFile(bootloader.B.File(bootloader.UKIFile), []byte("stray")))
	m, err := r.Open()
	require.NoError(t, err)
	k, err := m.Kernel(bootloader.B)
	require.NoError(t, err)
	require.NotNil(t, k.Initrd, "a kernel and its initramfs, as the loader starts them")
	r.boots(bootloader.B, "1.1.0")
	require.Equal(t, bootloader.B.File(bootloader.KernelFile), r.Last.Path)
}

// The arguments by which a boot says what it is are ours, whatever is forced.
func TestImagesWithOurArgumentsAreRefused(t *testing.T) {
	for _, arg := range []string{"pawl.slot=A", "pawl.boot=1", "pawl.start=kexec", `"pawl.slot=A"`} {
		r := start(t)
		_, err := r.Upgrade(t.Context(), r.made("2.0.0", virtual.Spec{Cmdline: "panic=1 " + arg}),
			upgrade.Options{Force: true})
		require.ErrorIs(t, err, upgrade.ErrUnfit, arg)
		require.ErrorContains(t, err, "is Pawl's own")
		require.Equal(t, bootloader.None, r.status().Loader.Armed)
		r.boots(bootloader.A, "1.0.0")
	}
}

// An attempt that is armed for kexec is given up as one in the loader is.
func TestRollbackOfWhatIsArmedForKexec(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Prepare(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	_, err = m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	a, err := m.Rollback(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	require.Equal(t, attempt.Abandoned, a.Result)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	r.boots(bootloader.A, "1.0.0")
}
