//go:build vm

package proof

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A sample of `make boots`: the model of firmware and loader agrees with OVMF and systemd-boot in QEMU.
func TestTheModelAgreesWithRealFirmware(t *testing.T) {
	var log logger
	r, err := Boots(t.Context(), t.TempDir(), BootOptions{Cases: 12, Workers: 2, Within: 3 * time.Minute, Log: &log})
	t.Log(log.text)
	require.NoError(t, err)
	require.Empty(t, r.Differences)
	require.Equal(t, 12, r.Cases)
	require.Positive(t, r.Default)
	require.Positive(t, r.Trial)
	require.Positive(t, r.Nothing)
}
