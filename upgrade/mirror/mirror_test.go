package mirror_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// rig is a machine with two disks.
type rig struct {
	t *testing.T
	*virtual.Machine
	second *disktest.Disk
	images *virtual.Images
	spec   virtual.Spec
}

// start returns a machine that runs version 1.0.0, with an empty second disk.
func start(t *testing.T, loader string) *rig {
	t.Helper()
	images, err := virtual.NewImages(context.Background(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images, second: disktest.New(virtual.Size, 512),
		spec: virtual.Spec{GRUB: loader != loaders.SystemdBoot, Size: 200_000}}
	img, err := images.Image("1.0.0", r.spec)
	require.NoError(t, err)
	r.Machine, err = virtual.InstallOn(context.Background(), img, loader)
	require.NoError(t, err)
	r.boot()
	return r
}

// boot switches the machine on, and its system says that it started.
func (r *rig) boot() {
	r.t.Helper()
	require.NoError(r.t, r.Boot())
	_, err := r.Started(context.Background())
	require.NoError(r.t, err)
}

func (r *rig) open() *upgrade.Machine {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	return m
}

func (r *rig) elsewhere() mirror.Elsewhere {
	return mirror.Elsewhere{Devices: []device.Device{r.second}}
}

// mirrored gives it a mirror on the second disk.
func (r *rig) mirrored() *rig {
	r.t.Helper()
	m := r.open()
	guid, err := mirror.Lay(m, r.second)
	require.NoError(r.t, err)
	report, err := mirror.Make(context.Background(), m, r.elsewhere(), guid)
	require.NoError(r.t, err)
	require.True(r.t, report.Fine(), "%s", report)
	return r
}

func (r *rig) look(deep bool) mirror.Report {
	r.t.Helper()
	report, err := mirror.Look(r.open(), r.elsewhere(), deep)
	require.NoError(r.t, err)
	return report
}

func (r *rig) keep(o mirror.KeepOptions) mirror.Report {
	r.t.Helper()
	report, err := mirror.Keep(context.Background(), r.open(), r.elsewhere(), o)
	require.NoError(r.t, err)
	return report
}

// alone boots what is left once the first disk is gone, on copies.
func (r *rig) alone() predict.Outcome {
	r.t.Helper()
	return alone(r.t, r.second.Clone(), r.Vars.Clone())
}

func alone(t *testing.T, disk *disktest.Disk, vars *efivar.Memory) predict.Outcome {
	t.Helper()
	b, err := predict.Boot(disk, vars, predict.Options{Explain: true})
	require.NoError(t, err)
	return b
}

// upgraded arms a version and boots it on trial.
func (r *rig) armed(version string) {
	r.t.Helper()
	img, err := r.images.Image(version, r.spec)
	require.NoError(r.t, err)
	_, err = r.Upgrade(context.Background(), img, upgrade.Options{})
	require.NoError(r.t, err)
}

func (r *rig) upgraded(version string) {
	r.t.Helper()
	r.armed(version)
	r.boot()
	_, err := r.Confirm(context.Background())
	require.NoError(r.t, err)
}

// digest is that of what a slot of the machine boots.
func (r *rig) digest(s bootloader.Slot) string {
	r.t.Helper()
	m, err := bootloader.ReadSlot(r.open().Boot, s)
	require.NoError(r.t, err)
	at := slices.IndexFunc(m.Files, func(f bootloader.File) bool {
		return f.Name == bootloader.UKIFile || f.Name == bootloader.KernelFile
	})
	return m.Files[at].SHA256
}

// onMirror works on the mirror's file system behind everybody's back.
func (r *rig) onMirror(do func(f *bootfs.FS)) {
	r.t.Helper()
	layout, err := partition.Read(r.second)
	require.NoError(r.t, err)
	p, err := layout.Find(string(partition.Mirror))
	require.NoError(r.t, err)
	f, err := bootfs.Open(partition.Section(r.second, p), bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(r.t, err)
	do(f)
}

// A machine is upgraded twice; whenever its first disk vanishes, it starts the version that was confirmed last.
func TestTheMachineStartsFromItsMirror(t *testing.T) {
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBUEFI} {
		t.Run(loader, func(t *testing.T) {
			r := start(t, loader).mirrored()
			one := r.digest(bootloader.A)
			require.Equal(t, one, r.alone().Digest)

			r.armed("2.0.0")
			require.True(t, r.look(true).Fine(), "%s", r.look(true))
			left := r.alone()
			require.Equal(t, one, left.Digest, "what is armed is not on the mirror")
			require.False(t, left.Trial)
			r.boot()
			require.True(t, r.look(true).Fine(), "a trial changes nothing of what is confirmed")
			require.Equal(t, one, r.alone().Digest)

			_, err := r.Confirm(context.Background())
			require.NoError(t, err)
			require.Contains(t, r.look(false).Behind, "EFI/pawl/B/")
			require.Equal(t, one, r.alone().Digest)
			require.True(t, r.keep(mirror.KeepOptions{}).Fine())
			require.True(t, r.look(true).Fine(), "%s", r.look(true))
			two := r.digest(bootloader.B)
			require.Equal(t, two, r.alone().Digest)

			r.armed("3.0.0") // into the slot that the mirror had before
			left = r.alone()
			require.Equal(t, two, left.Digest, "the variables arm that slot, and the mirror has nothing in it")
			require.False(t, left.Trial)
			if loader != loaders.SystemdBoot {
				layout, err := partition.Read(r.second)
				require.NoError(t, err)
				require.Contains(t, left.Cmdline, "pawl.boot="+layout.Partitions[0].GUID.String())
			}
			r.boot()
			_, err = r.Confirm(context.Background()) // and the mirror misses that
			require.NoError(t, err)
			r.upgraded("4.0.0") // into the slot that it starts
			require.Equal(t, two, r.alone().Digest)
			require.True(t, r.keep(mirror.KeepOptions{}).Fine())
			require.Equal(t, r.digest(bootloader.B), r.alone().Digest)
			require.NotEqual(t, two, r.alone().Digest)

			r.boot() // with both disks: the first one
			require.Equal(t, bootloader.B, r.Last.Slot)
			st, _, err := r.open().Runs()
			require.NoError(t, err)
			require.Equal(t, bootloader.B, st.Active)
		})
	}
}

func TestNothingIsWrittenWhereNothingIsToDo(t *testing.T) {
	r := start(t, loaders.SystemdBoot).mirrored()
	r.second.Record()
	r.Disk.Record()
	require.True(t, r.keep(mirror.KeepOptions{Deep: true, Move: true}).Fine())
	require.False(t, wrote(r.second))
	require.False(t, wrote(r.Disk))
}

// wrote reports whether anything was written to a disk since it records.
func wrote(d *disktest.Disk) bool {
	return slices.ContainsFunc(d.Trace().Ops, func(op disktest.Op) bool { return op.Action == disktest.Write })
}
