package upgrade_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/upgrade"
)

// noFiles has the process out of file descriptors while do runs, as a flood of connections would.
func noFiles(t *testing.T, do func()) {
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	none := old
	none.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
	do()
}

func TestAMachineOfWhichTheKernelTellsNothingIsNotOpened(t *testing.T) {
	r := start(t)
	cmdline := r.Last.Cmdline
	for name, o := range map[string]upgrade.OpenOptions{
		"the kernel's arguments": {BootID: "boot", Version: "1"},
		"the boot's id":          {Cmdline: &cmdline, Version: "1"},
		"the version":            {Cmdline: &cmdline, BootID: "boot"},
	} {
		t.Run(name, func(t *testing.T) {
			o.Vars = r.Vars
			var err error
			noFiles(t, func() { _, err = upgrade.OpenDevice(r.Disk, o) })
			require.ErrorIs(t, err, syscall.EMFILE, "it is not taken for a boot that says nothing")
		})
	}
	t.Run("its disk", func(t *testing.T) {
		var err error
		noFiles(t, func() { _, err = upgrade.Disk(efivar.Absent()) })
		require.ErrorIs(t, err, upgrade.ErrDiskUnknown)
		require.ErrorIs(t, err, syscall.EMFILE)
	})
	t.Run("a system without an os-release says no version", func(t *testing.T) {
		_, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Vars: r.Vars, Cmdline: &cmdline, BootID: "boot", Release: "/nowhere"})
		require.NoError(t, err)
	})
}
