package upgrade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/upgrade"
)

// Firmware that takes the first n changes of an upgrade and refuses the next: the upgrade says so, nothing is armed, the
// default boots, and with better firmware the same upgrade ends right. The target is written by then: that firmware refuses
// is only known when it is asked, and it is asked for nothing before the target is complete.
func TestVariablesThatAreRefused(t *testing.T) {
	for n := 0; ; n++ {
		r := start(t)
		two := r.image("2.0.0")
		changes := 0
		r.Vars.BeforeWrite = func(efivar.Name, []byte) error {
			if changes++; changes > n {
				return fmt.Errorf("no space left on device: %w", efivar.ErrNotKept)
			}
			return nil
		}
		_, err := r.Upgrade(t.Context(), two, upgrade.Options{Tries: 2}) // for one there are starts enough since the first boot
		r.Vars.BeforeWrite = nil
		if err == nil {
			require.Greater(t, n, 1, "an upgrade changes at least BootOrder, an entry in it, and what arms")
			return
		}
		require.ErrorIs(t, err, bootloader.ErrNoVariables)
		require.ErrorContains(t, err, "write variable ")
		require.Equal(t, bootloader.None, r.status().Loader.Armed)
		if a := r.status().Attempt; a != nil {
			require.NotEqual(t, upgrade.Armed, a.Phase)
		}
		r.boots(bootloader.A, "1.0.0")
		r.upgrade(two)
		r.boots(bootloader.B, "2.0.0")
	}
}

// readOnly is a store that says beforehand that nothing can be written, as efivarfs mounted read-only does.
type readOnly struct{ *efivar.Memory }

func (readOnly) Writable() error { return fmt.Errorf("mounted read-only: %w", efivar.ErrNotKept) }

func TestVariablesThatAreReadOnlyAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	r := start(t)
	r.Vars.BeforeWrite = func(efivar.Name, []byte) error { return fmt.Errorf("written all the same: %w", efivar.ErrNotKept) }
	r.Disk.Record()
	m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Vars: readOnly{r.Vars}, Cmdline: new(string), BootID: "x", Version: "1.0.0"})
	require.NoError(t, err)
	_, err = m.Apply(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.ErrorIs(t, err, bootloader.ErrNoVariables)
	require.ErrorContains(t, err, "mounted read-only")
	require.Empty(t, r.Disk.Trace().Ops)

	a, err := m.Confirm(t.Context(), upgrade.Options{})
	require.NoError(t, err, "what runs can be confirmed all the same")
	require.Nil(t, a)
}
