package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade"
)

func TestKernelOfASlot(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	m.Cmdline = "BOOT_IMAGE=x pawl.slot=B pawl.boot=1234 pawl.canary=7 quiet"
	k, err := m.Kernel(bootloader.A)
	require.NoError(t, err)
	require.Equal(t, "pawl.slot=A pawl.boot=1234 pawl.canary=7 console=ttyS0 panic=1", k.Cmdline)
	require.Positive(t, k.Linux.Size())
	_, err = m.Kernel(bootloader.B)
	require.ErrorIs(t, err, upgrade.ErrNotComplete)
}

// TestTrialByKexec: nothing is armed in the loader, so the firmware comes back to the default whatever happens.
func TestTrialByKexec(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Prepare(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	a, err := m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	require.Equal(t, upgrade.Armed, a.Phase)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	again, err := m.Arm(t.Context(), upgrade.Options{})
	require.NoError(t, err, "the kernel could not be started")
	require.Equal(t, a.ID, again.ID)
	require.Equal(t, bootloader.B, r.status().Loader.Armed)
	_, err = m.Arm(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, upgrade.NotKnown, b.Attempt.Reason)
}
