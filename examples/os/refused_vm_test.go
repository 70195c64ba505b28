//go:build vm

package exampleos_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadOnlyEfivarfsRefusesAnUpgradeAndNothingIsWritten(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.do("readonly /sys/firmware/efi/efivars")
	before := m.contents()
	out := m.refused(m.upgradeCommand("2.0.0"))
	require.Contains(t, out, "firmware variables cannot be kept")
	require.Contains(t, out, "read-only")
	require.Equal(t, before, m.contents(), "EFI, BIOS, META and STATE")
	m.restart()
	m.ready("1.0.0", "A")
}

// contents is a digest of everything on the disk in front of EPHEMERAL.
func (m *machine) contents() string {
	m.Helper()
	f, err := os.Open(m.config.Disks[0].Path)
	require.NoError(m, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyN(h, f, 1127<<20)
	require.NoError(m, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}
