package mirror_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

func TestWhatCannotHaveAMirrorSaysWhy(t *testing.T) {
	for _, loader := range []string{loaders.GRUBBIOS, loaders.GRUB} {
		r := start(t, loader)
		_, err := mirror.Lay(r.open(), r.second)
		require.ErrorIs(t, err, mirror.ErrUnfit)
		require.ErrorContains(t, err, "a BIOS starts what is in a disk's first sector")
		require.Equal(t, 0, r.second.Flushes(), "nothing is written")
	}

	r := start(t, loaders.GRUBUEFI)
	r.Disk = r.Disk.Resized(2 * virtual.Size)
	_, err := mirror.Lay(r.open(), r.Disk)
	require.ErrorIs(t, err, mirror.ErrUnfit)
	require.ErrorContains(t, err, "GRUB's image looks for it in partition 1")

	r = start(t, loaders.SystemdBoot)
	_, err = mirror.Lay(r.open(), disktest.New(virtual.Size/2, 512))
	require.ErrorIs(t, err, partition.ErrNoSpace)
	_, err = mirror.Look(r.open(), r.elsewhere(), false)
	require.ErrorIs(t, err, mirror.ErrNone)
	_, err = mirror.Make(context.Background(), r.open(), r.elsewhere(), uuid.New())
	require.ErrorIs(t, err, mirror.ErrGone)
}

// The mirror of another machine is not taken, and one whose disk is there twice is not written.
func TestTheMirrorOfAnotherMachineIsLeft(t *testing.T) {
	r := start(t, loaders.SystemdBoot).mirrored()
	copied := r.second.Clone()
	twice := mirror.Elsewhere{Devices: []device.Device{r.second, copied}}
	_, err := mirror.Keep(context.Background(), r.open(), twice, mirror.KeepOptions{})
	require.ErrorIs(t, err, partition.ErrSeveral)
	_, err = mirror.Look(r.open(), mirror.Elsewhere{}, false)
	require.ErrorIs(t, err, mirror.ErrGone)

	r.onMirror(func(f *bootfs.FS) {
		require.NoError(t, f.WriteFile(bootloader.MirrorFile, bootloader.EncodeMirror(uuid.NewString())))
	})
	guid, err := mirror.Lay(r.open(), r.second)
	require.NoError(t, err)
	_, err = mirror.Make(context.Background(), r.open(), r.elsewhere(), guid)
	require.ErrorIs(t, err, mirror.ErrUnfit)
	require.ErrorContains(t, err, "that of another machine")
}

// A boot that came from the mirror writes nothing to it, and nothing of the machine runs.
func TestABootFromTheMirrorChangesNothing(t *testing.T) {
	r := start(t, loaders.SystemdBoot).mirrored()
	layout, err := partition.Read(r.second)
	require.NoError(t, err)
	require.NoError(t, r.Vars.Write(efivar.Loader("LoaderDevicePartUUID"), efivar.Variable{Attributes: 6,
		Data: efivar.EncodeString(layout.Partitions[0].GUID.String())}))
	r.onMirror(func(f *bootfs.FS) { require.NoError(t, f.Remove("loader/loader.conf")) })
	r.second.Record()
	report, err := mirror.Keep(context.Background(), r.open(), r.elsewhere(), mirror.KeepOptions{Deep: true, Move: true})
	require.ErrorIs(t, err, mirror.ErrStarted)
	require.True(t, report.Started)
	require.ErrorIs(t, mirror.Forget(r.open(), r.elsewhere()), mirror.ErrStarted)
	require.False(t, wrote(r.second))
	st, _, err := r.open().Runs()
	require.NoError(t, err)
	require.Equal(t, bootloader.None, st.Active)
	require.Contains(t, r.look(false).String(), "so nothing is confirmed or armed")
}

// A boot of which nobody can say where it came from writes nothing there, since it may be all that is left.
func TestABootOfWhichItIsNotKnownWhereItCameFrom(t *testing.T) {
	r := start(t, loaders.SystemdBoot).mirrored()
	require.NoError(t, r.Vars.Write(efivar.Loader("LoaderDevicePartUUID"), efivar.Variable{Attributes: 6,
		Data: []byte("odd")}))
	r.onMirror(func(f *bootfs.FS) { require.NoError(t, f.Remove("loader/loader.conf")) })
	r.second.Record()
	const says = "from which boot file system this boot was started"
	_, err := mirror.Keep(context.Background(), r.open(), r.elsewhere(), mirror.KeepOptions{Deep: true, Move: true})
	require.ErrorContains(t, err, says)
	require.ErrorContains(t, mirror.Forget(r.open(), r.elsewhere()), says)
	_, err = mirror.Look(r.open(), r.elsewhere(), false)
	require.ErrorContains(t, err, says)
	require.Contains(t, mirror.Warning(mirror.Report{}, err), says)
	require.False(t, wrote(r.second))
}

// A second mirror takes the place of the first, which starts nothing any more; and one that is ended starts nothing.
func TestAMirrorThatIsOverStartsNothing(t *testing.T) {
	r := start(t, loaders.SystemdBoot).mirrored()
	was := r.second
	next := disktest.New(virtual.Size, 512)
	both := mirror.Elsewhere{Devices: []device.Device{was, next}}
	guid, err := mirror.Lay(r.open(), next)
	require.NoError(t, err)
	report, err := mirror.Make(context.Background(), r.open(), both, guid)
	require.NoError(t, err)
	require.True(t, report.Fine(), "%s", report)
	require.NotEmpty(t, alone(t, was.Clone(), r.Vars.Clone()).Stuck)
	require.Empty(t, alone(t, next.Clone(), r.Vars.Clone()).Stuck)
	require.NoError(t, mirror.Forget(r.open(), both))
	require.NotEmpty(t, alone(t, next.Clone(), r.Vars.Clone()).Stuck)
	_, err = mirror.Declared(r.open())
	require.ErrorIs(t, err, mirror.ErrNone)
}
