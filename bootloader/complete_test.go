package bootloader_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// A loader that has checked the files alone must not take the slot for a system.
func TestASlotWithImagesIsNotComplete(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	boot, err := m.FS()
	require.NoError(t, err)
	for _, s := range bootloader.Slots {
		require.NoError(t, boot.Mkdir(s.Dir()))
	}
	man, err := m.Fill(boot, bootloader.A, "1")
	require.NoError(t, err)
	_, err = bootloader.ReadSlot(boot, bootloader.A)
	require.NoError(t, err)

	man.Images = withImages().Images
	data, err := bootloader.EncodeManifest(man)
	require.NoError(t, err)
	require.NoError(t, boot.Remove(bootloader.A.File(bootloader.ManifestFile)))
	require.NoError(t, boot.WriteFile(bootloader.A.File(bootloader.ManifestFile), data))
	_, err = bootloader.ReadSlot(boot, bootloader.A)
	require.ErrorIs(t, err, bootloader.ErrImages)
}
