//go:build tools

package sdboot_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// Debian's loader says which version it is; its stub, which has the same section, is no loader.
func TestVersionOfTheRealLoader(t *testing.T) {
	image, err := os.ReadFile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	require.NoError(t, err, "run hack/deps.sh")
	version, err := sdboot.Version(bytes.NewReader(image), int64(len(image)))
	require.NoError(t, err)
	require.Regexp(t, `^\d+\.\d+-\S+$`, version)
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	require.NoError(t, err, "run hack/deps.sh")
	_, err = sdboot.Version(bytes.NewReader(stub), int64(len(stub)))
	require.ErrorContains(t, err, "not that it is systemd-boot")
}
