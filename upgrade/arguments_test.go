package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
)

// What is behind a "--" is for init: it neither says nor takes back what a panic of the kernel does.
func TestWhatIsForInitSaysNothingOfAPanic(t *testing.T) {
	for cmdline, fits := range map[string]bool{
		"quiet -- panic=10":              false,
		"panic=10 -- panic=0":            true,
		`quiet x="panic=10"`:             false,
		`quiet x="a panic=10 b"`:         false,
		`"panic=10" quiet`:               true,
		"panic=10 panic=0":               false,
		"panic=0 panic=10":               true,
		"panic=10 panic=often":           true,
		"panic=often":                    false,
		"panic=0x0a":                     true,
		"panic=-1":                       true,
		"softlockup_panic=10":            false,
		`panic=10 "--" panic=0`:          true,
		"panic=10 -- pawl.slot=A":        false, // an older reader takes it for the slot
		`panic=10 "pawl.boot=x"`:         false,
		"panic=10 pawl.failed=A:missing": false,
		"panic=10 xpawl.slot=A":          true,
	} {
		t.Run(cmdline, func(t *testing.T) {
			r := start(t)
			_, err := r.Upgrade(t.Context(), r.made("1.1.0", virtual.Spec{Cmdline: cmdline}), upgrade.Options{})
			if !fits {
				require.ErrorIs(t, err, upgrade.ErrUnfit)
				return
			}
			require.NoError(t, err)
			r.boots(bootloader.B, "1.1.0")
		})
	}
}

// A kernel without a UKI gets panic=10 from the loader where its own arguments say nothing that Linux understands.
func TestKernelsArgumentsSayWhatAPanicDoes(t *testing.T) {
	r := startKernels(t)
	for cmdline, want := range map[string]string{
		"quiet panic=often":       " panic=10 quiet panic=often",
		`quiet x="a panic=0 b"`:   ` panic=10 quiet x="a panic=0 b"`,
		"quiet -- panic=0":        " panic=10 quiet -- panic=0",
		`quiet x="two  spaces"`:   ` panic=10 quiet x="two  spaces"`,
		`"panic=5" quiet panic=6`: ` "panic=5" quiet panic=6`,
	} {
		r.upgrade(r.made("1.1.0", virtual.Spec{Kernel: true, Cmdline: cmdline}))
		m, err := r.Open()
		require.NoError(t, err)
		k, err := m.Kernel(bootloader.B)
		require.NoError(t, err)
		require.Contains(t, k.Cmdline, want, "started by kexec")
		require.NoError(t, m.Loader.Disarm())
	}
	_, err := r.Upgrade(t.Context(), r.made("1.1.0", virtual.Spec{Kernel: true, Cmdline: "panic=10 pawl.start=kexec"}),
		upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrUnfit)
}
