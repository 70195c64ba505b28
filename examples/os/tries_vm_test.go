//go:build vm

package exampleos_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
)

// buildKernels makes versions for systemd-boot without a UKI.
var buildKernels = sync.OnceValues(func() (*world, error) {
	w, err := build()
	if err != nil {
		return nil, err
	}
	return packed(w.Kit, "kernels", w.System.AddKernel, osimage.Panics)
})

// A version that panics once it has said that it started is tried as often as it was promised: each trial arms the next
// one. Its system is a kernel and an initramfs, which systemd-boot gives its slot and its arguments.
func TestEachTrialArmsTheNext(t *testing.T) {
	t.Parallel()
	w, err := buildKernels()
	require.NoError(t, err)
	m := w.machine(t, loaders.SystemdBoot)
	m.install("1.0.0")
	m.ready("1.0.0", "A")
	require.True(t, strings.HasPrefix(m.do("cat /proc/cmdline"), `initrd=\EFI\pawl\A\initrd pawl.slot=A pawl.boot=`),
		"as the model has it")
	tag := osimage.Version{Number: "2.1.0", Broken: osimage.Panics}.Tag()
	m.upgrade(tag, "--force --tries 3")
	m.restart()
	for range 3 {
		m.trial(tag, "B")
	}
	m.ready("1.0.0", "A")
	s := m.status()
	require.Equal(t, "fell back", s.Attempt.Result)
	require.Contains(t, s.Attempt.Reason, "started 3 times")
	require.Len(t, s.KnownBad, 1)
}

// By BootNext the firmware starts the new version's UKI without the loader, and once it is confirmed the loader starts
// it.
func TestTrialByBootNextConfirms(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0", "--trial boot-next")
	require.Contains(t, m.do("run installer status"), "by BootNext")
	m.restart()
	m.direct = true
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Equal(t, "confirmed", m.status().Attempt.Result)
	m.restart()
	m.direct = false
	m.ready("2.0.0", "B")
}
