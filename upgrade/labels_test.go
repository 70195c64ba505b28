package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// others are labels of another system.
var others = partition.Labels{
	partition.EFI: "COS_GRUB", partition.BIOS: "bios", partition.Meta: "PAWL-META", partition.State: "COS_STATE",
	partition.Ephemeral: "COS_PERSISTENT",
}

// relabel gives the partitions of a disk the labels of another system.
func relabel(t *testing.T, dev upgrade.Device) {
	l, err := partition.Read(dev)
	require.NoError(t, err)
	for i := range l.Partitions {
		l.Partitions[i].Label = others.Of(partition.Role(l.Partitions[i].Label))
	}
	require.NoError(t, partition.Apply(dev, l))
}

// through takes a machine with version 1.0.0 to a version that is confirmed, from there to one that fails, and back by
// hand.
func (r *rig) through() {
	image := func(version string) (attempt.Attempt, error) {
		return r.Upgrade(r.t.Context(), r.version(version), upgrade.Options{})
	}
	_, err := image("2.0.0")
	require.NoError(r.t, err)
	b := r.boots(bootloader.B, "2.0.0")
	require.True(r.t, b.Trial)
	require.True(r.t, b.Wiped, "its EPHEMERAL is found")
	r.confirm()
	_, err = image("2.1.0")
	require.NoError(r.t, err)
	require.True(r.t, r.boots(bootloader.A, "2.1.0").Trial)
	require.Equal(r.t, attempt.FellBack, r.boots(bootloader.B, "2.0.0").Attempt.Result)
	require.Empty(r.t, r.status().Warnings)
}

func TestADiskWithForeignLabelsIsInstalledUpgradedAndConfirmed(t *testing.T) {
	for _, backend := range loaders.All() {
		loader := backend.Name()
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			specs := partition.Default(partition.Defaults{EFI: 40 << 20, State: 1 << 20, Labels: others})
			r.Machine = &virtual.Machine{Disk: disktest.New(virtual.Size, 512), Vars: efivar.NewMemory(),
				Loader: loader, Labels: others}
			o := upgrade.InstallOptions{Loader: backend, Partitions: specs, Labels: others, Now: virtual.Now}
			require.NoError(t, upgrade.Install(t.Context(), r.Disk, r.one, o))
			r.boots(bootloader.A, "1.0.0")
			d, err := doctor.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
				Labels: others, Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "1.0.0",
			})
			require.NoError(t, err)
			require.Equal(t, []string{"fine"}, found(d))
			r.through()
		})
	}
}

func TestAMachineWhosePartitionsGetOtherLabelsGoesOn(t *testing.T) {
	r := start(t)
	relabel(t, r.Disk)
	_, err := r.Open()
	require.ErrorIs(t, err, partition.ErrNotFound)
	r.Labels = others
	r.boots(bootloader.A, "1.0.0")
	r.through()
}

// The labels are judged, and every partition that a machine needs is looked for, while the disk is untouched.
func TestAnInstallWithoutItsPartitionsWritesNothing(t *testing.T) {
	r := start(t)
	for why, o := range map[string]upgrade.InstallOptions{
		"find partition META": {Partitions: virtual.Partitions()[:2]},
		"META of this machine: find partition": {Partitions: virtual.Partitions(),
			Labels: partition.Labels{partition.Meta: "PAWL-META"}},
		`label "META" is that of`: {Labels: partition.Labels{partition.EFI: "META"}},
	} {
		o.Loader = sdboot.Backend{}
		disk := disktest.New(virtual.Size, 512)
		disk.Record()
		require.ErrorContains(t, upgrade.Install(t.Context(), disk, r.one, o), why)
		require.Empty(t, disk.Trace().Ops)
	}
}
