//go:build tools

package predict

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/arch"
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
