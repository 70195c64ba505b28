//go:build tools

package predict

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/examples/os/osimage"
)

// The checks of images accept what real firmware accepts: Debian's systemd-boot and stub (package systemd-boot-efi),
// and refuse each of them cut short.
func TestRealImages(t *testing.T) {
	for name, isLoader := range map[string]bool{"systemd-bootx64.efi": true, "linuxx64.efi.stub": false} {
		b, err := os.ReadFile("/usr/lib/systemd/boot/efi/" + name)
		require.NoError(t, err)
		sections, err := LoadImage(b, arch.Usual().Machine)
		require.NoError(t, err, name)
		require.Equal(t, isLoader, strings.HasPrefix(string(find(sections, ".sdmagic")), sdMagic), name)
		_, err = LoadImage(b, arch.All()[1].Machine)
		require.Error(t, err)
		for _, n := range []int{0, 1, 100, 1000, len(b) / 2} {
			_, err := LoadImage(b[:n], arch.Usual().Machine)
			require.ErrorIs(t, err, errImage, "%s cut at %d", name, n)
		}
	}
}

// Debian 12's systemd-boot for arm64 has no section that says what it is, and is known all the same; its stub is not
// taken for it.
func TestRealImagesForArm64(t *testing.T) {
	parts, err := osimage.FindPartsFor("arm64")
	require.NoError(t, err)
	a, err := arch.Named("arm64")
	require.NoError(t, err)
	for path, isLoader := range map[string]bool{parts.Loader: true, parts.Stub: false, parts.Kernel: false} {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		sections, err := LoadImage(b, a.Machine)
		require.NoError(t, err, path)
		require.Equal(t, isLoader, isSystemdBoot(sections), path)
		version, err := sdboot.Version(bytes.NewReader(b), int64(len(b)))
		if !isLoader {
			require.Error(t, err, path)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, version, loaderVersion(sections))
	}
}
