package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// moved puts the disk into another machine: with a BIOS, or with UEFI that knows nothing of it.
func (r *rig) moved(bios bool) {
	r.BIOS, r.Vars = bios, efivar.NewMemory()
}

// A disk that UEFI and a BIOS alike start goes from one machine to the other at any time: armed, on trial, confirmed,
// after a trial that failed. Each reads what the other has left.
func TestADiskOfBothGoesFromOneMachineToAnother(t *testing.T) {
	for _, bios := range []bool{false, true} { // where it begins
		r := startGRUB(t, loaders.GRUB)
		r.moved(bios)
		r.boots(bootloader.A, "1.0.0")
		fine := func(want string) {
			d := r.diagnose()
			require.Equal(t, doctor.Fine, d.Severity(), "%v", d.Findings)
			require.Equal(t, want, slots(d))
		}
		fine("AAA")
		r.upgrade(r.version("2.0.0"))
		fine("B!AA")
		r.moved(!bios) // armed
		require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
		fine("AAA")
		r.confirm()
		fine("BBB")
		r.moved(bios)
		require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
		fine("BBB")

		a, err := r.Upgrade(t.Context(), r.version("3.0.0"), upgrade.Options{Tries: 2})
		require.NoError(t, err)
		require.NotNil(t, a)
		require.True(t, r.boots(bootloader.A, "3.0.0").Trial)
		r.moved(!bios) // the second try is there, the third is not
		require.True(t, r.boots(bootloader.A, "3.0.0").Trial)
		r.moved(bios)
		require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
		require.Contains(t, r.status().Attempt.Result, "fell back")
		require.Equal(t, "BBB", slots(r.diagnose()))
	}
}
