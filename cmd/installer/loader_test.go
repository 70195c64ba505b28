package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// A confirm has the loader of the version start the machine, and the boot after that installs it. Where that is not
// safe it says so, and --force does it.
func TestConfirmInstallsTheLoader(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	// An entry of our own, as the first boot of a system makes it.
	m := b.open("boot-1", "1.0.0")
	_, err := m.Started(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	status, out := b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{Loader: "253"}))
	require.Zero(t, status, out)
	require.Equal(t, bootloader.B, b.boot().Slot)
	b.runs("2.0.0")
	status, out = b.on("confirm")
	require.Zero(t, status, out)
	require.NotContains(t, out, "warning")
	require.Contains(t, out, "the next start through the firmware goes through it")
	status, out = b.on("loader")
	require.Zero(t, status, out)
	require.Contains(t, out, "the next start through the firmware goes through it", "and a restart is not forced")
	require.Equal(t, bootloader.B, b.boot().Slot)
	m = b.open("boot-2", "2.0.0")
	_, err = m.Started(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	status, out = b.on("loader")
	require.Zero(t, status, out)
	require.Contains(t, out, "The loader is that of version 2.0.0: systemd-boot 253.\n")
	require.Equal(t, bootloader.B, b.boot().Slot)

	status, out = b.on("upgrade", "--image", f.reference("3.0.0", virtual.Spec{Loader: "254"}))
	require.Zero(t, status, out)
	require.Equal(t, bootloader.A, b.boot().Slot)
	b.runs("3.0.0")
	b.set(efivar.Global("BootOrder"), efivar.EncodeNumbers(1)) // somebody has tidied up
	status, out = b.on("confirm")
	require.Zero(t, status, out)
	require.Contains(t, out, "warning: replace the loader: systemd-boot 253 is installed, version 3.0.0 has "+
		"systemd-boot 254: replacing the loader is not safe on this machine")
	status, out = b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "warning  The loader of version 3.0.0 (systemd-boot 254) differs from the one that is "+
		"installed (systemd-boot 253), which is left as it is: replacing the loader is not safe")
	status, out = b.on("loader")
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, "do: leave it; --force takes the risk")
	status, out = b.on("loader", "--force")
	require.Zero(t, status, out)
	require.Contains(t, out, "The loader is that of version 3.0.0: systemd-boot 254.\n")
	require.Equal(t, bootloader.A, b.boot().Slot)
}
