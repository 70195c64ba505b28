package loaders_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image/pack"
)

// A person names a loader, and a way to try a version.
func Example() {
	grub, err := loaders.Named("grub-bios")
	if err != nil {
		panic(err)
	}
	fmt.Println("a new disk needs", grub.Takes().Install)
	fmt.Println(bootloader.CheckWay(loaders.All(), "boot-next"))
	fmt.Println(bootloader.CheckWay(loaders.All(), "twice"))
	// Output:
	// a new disk needs [grub-boot.img grub-core.img]
	// <nil>
	// trial "twice": want one of one-shot, boot-next, counting
}

func TestEachLoaderHasItsNameAndIsModelled(t *testing.T) {
	for i, b := range loaders.All() {
		require.Equal(t, loaders.Names()[i], b.Name())
		require.True(t, predict.Knows(b.Name()))
		same, err := loaders.Named(b.Name())
		require.NoError(t, err)
		require.Equal(t, b, same)
	}
	first, err := loaders.Named("")
	require.NoError(t, err)
	require.Equal(t, loaders.SystemdBoot, first.Name())
	_, err = loaders.Named("lilo")
	require.ErrorContains(t, err, "want one of systemd-boot, grub-bios, grub-uefi, grub")
	require.False(t, predict.Knows("lilo"))
}

// What a loader wants of an image is called as package pack calls it.
func TestFilesOfImagesAreCalledAsPackCallsThem(t *testing.T) {
	want := map[string]bootloader.Takes{
		loaders.SystemdBoot: {Own: pack.LoaderAsset, Install: []string{pack.LoaderAsset}},
		loaders.GRUBBIOS:    {Own: pack.GRUBCoreAsset, Install: []string{pack.GRUBBootAsset, pack.GRUBCoreAsset}},
		loaders.GRUBUEFI:    {Own: pack.GRUBEFIAsset, Install: []string{pack.GRUBEFIAsset}},
		loaders.GRUB: {Own: pack.GRUBEFIAsset, Install: []string{pack.GRUBEFIAsset, pack.GRUBBootAsset,
			pack.GRUBCoreAsset}},
	}
	for _, b := range loaders.All() {
		takes := b.Takes()
		require.Equal(t, want[b.Name()].Own, takes.Own)
		require.Equal(t, want[b.Name()].Install, takes.Install)
	}
}
