package sdboot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// The line that has keys enrolled is in loader.conf from the install on, through trials by each way and their confirm,
// and is none that somebody edited.
func TestEnrollStays(t *testing.T) {
	for _, way := range []sdboot.Way{sdboot.OneShot, sdboot.Counting} {
		b := triedBy(way, false)
		b.Backend = sdboot.Backend{Enroll: true}
		r, err := b.Installed()
		require.NoError(t, err)
		same := func(at string) {
			t.Helper()
			data, err := r.FS.ReadFile("loader/loader.conf")
			require.NoError(t, err)
			require.Contains(t, string(data), "timeout 0\nsecure-boot-enroll force\n", at)
			for _, w := range state(t, r).Warnings {
				require.NotContains(t, w, "loader.conf", at)
			}
		}
		same("installed")
		m, err := r.Fill(r.FS, bootloader.B, "2")
		require.NoError(t, err)
		require.NoError(t, r.Prepare(bootloader.B, m, 1))
		require.NoError(t, r.Arm(bootloader.B, 1))
		same("armed")
		o, err := r.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.B, o.Slot, "%v", o)
		r, err = b.Rig(r.Machine)
		require.NoError(t, err)
		require.NoError(t, r.Confirm(bootloader.B))
		same("confirmed")
		require.Equal(t, bootloader.B, state(t, r).Default)
	}
}
