//go:build vm

package proof

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
)

// A sample of `make boots`: the model agrees with OVMF and systemd-boot, OVMF and GRUB, SeaBIOS and GRUB in QEMU.
func TestTheModelAgreesWithRealFirmware(t *testing.T) {
	var log logger
	cases := map[string]int{loaders.SystemdBoot: 12, loaders.GRUBBIOS: 6, loaders.GRUBUEFI: 6}
	r, err := Boots(t.Context(), t.TempDir(), BootOptions{Cases: cases, InARow: 12, Workers: 2, Within: 6 * time.Minute,
		Log: &log})
	t.Log(log.text)
	require.NoError(t, err)
	require.Empty(t, r.Differences)
	require.Equal(t, cases, r.Of)
	require.Equal(t, 24+2*2, r.Boots)
	require.Equal(t, r.Boots, r.Foreseen)
	require.Positive(t, r.Default)
	require.Positive(t, r.Trial)
	require.Positive(t, r.Nothing)
}
