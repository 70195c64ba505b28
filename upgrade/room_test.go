package upgrade_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// The largest image that can be installed can also be upgraded to one of its size, in either slot. A larger one is
// refused before anything is written.
func TestRoomForTheNextVersion(t *testing.T) {
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	layout, err := partition.Plan(nil, virtual.Size, 512, virtual.Partitions())
	require.NoError(t, err)
	boot, err := layout.Find("EFI")
	require.NoError(t, err)
	half, err := bootfs.Half(layout.Bytes(boot), 512, bootloader.Zones())
	require.NoError(t, err)
	// virtual's images are larger than their kernel by what a UKI has beside it, and a slot keeps room for its manifest
	largest := int(half) - 80<<10

	large, err := images.Image("1.0.0", virtual.Spec{Size: largest + 32<<10})
	require.NoError(t, err)
	disk := disktest.New(virtual.Size, 512)
	disk.Record()
	o := upgrade.InstallOptions{Loader: sdboot.Backend{}, Partitions: virtual.Partitions(), Vars: efivar.NewMemory()}
	err = upgrade.Install(t.Context(), disk, large, o)
	require.ErrorIs(t, err, upgrade.ErrDoesNotFit)
	require.ErrorContains(t, err, "bytes into slot A, which can hold")
	require.Empty(t, disk.Trace().Ops, "nothing is written")

	r := &rig{t: t, images: images}
	r.one, err = images.Image("1.0.0", virtual.Spec{Size: largest})
	require.NoError(t, err)
	r.Machine, err = virtual.Install(t.Context(), r.one)
	require.NoError(t, err)
	r.boots(bootloader.A, "1.0.0")
	for i, version := range []string{"2.0.0", "3.0.0"} {
		img, err := images.Image(version, virtual.Spec{Size: largest})
		require.NoError(t, err)
		require.Empty(t, r.warnings(img))
		_, err = r.Upgrade(t.Context(), img, upgrade.Options{})
		require.NoError(t, err)
		r.boots([]bootloader.Slot{bootloader.B, bootloader.A}[i], version)
		_, err = r.Confirm(t.Context())
		require.NoError(t, err)
	}

	two, err := images.Image("4.0.0", virtual.Spec{Size: largest + 1<<20})
	require.NoError(t, err)
	small := start(t)
	require.Contains(t, small.warnings(two), "slot A has no room for another image of that size")
	_, err = small.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err, "there is room for this one")
	small.boots(bootloader.B, "4.0.0")
	_, err = small.Confirm(t.Context())
	require.NoError(t, err)
	three, err := images.Image("5.0.0", virtual.Spec{Size: largest + 1<<20})
	require.NoError(t, err)
	_, err = small.Upgrade(t.Context(), three, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrDoesNotFit)
}

// warnings are those of the plan of an upgrade.
func (r *rig) warnings(img *image.Image) string {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	p, err := m.Plan(r.t.Context(), img, upgrade.Options{})
	require.NoError(r.t, err)
	return strings.Join(p.Warnings, "\n")
}
