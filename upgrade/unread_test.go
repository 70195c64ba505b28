package upgrade_test

import (
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
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
			o.Loaders, o.Vars = loaders.All(), r.Vars
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
		_, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
			Cmdline: &cmdline, BootID: "boot", Release: "/nowhere"})
		require.NoError(t, err)
	})
}

// A check may say as much as it likes; the old version still has to be told that the trial is over.
func TestAReasonThatIsLongerThanMETA(t *testing.T) {
	for name, reason := range map[string]string{
		"long":            strings.Repeat("x", 300<<10),
		"not UTF-8":       strings.Repeat("\xe4", 300<<10),
		"long in JSON":    strings.Repeat("\x01", 300<<10),
		"cut in a letter": strings.Repeat("ä", 300<<10),
	} {
		t.Run(name, func(t *testing.T) {
			r := tried(t, 2)
			m, err := r.Open()
			require.NoError(t, err)
			require.NoError(t, m.Reached(t.Context(), reason))
			require.NoError(t, m.Failed(t.Context(), reason))
			b := r.boots(bootloader.A, "1.0.0")
			require.Equal(t, attempt.FellBack, b.Attempt.Result)
			require.NotEmpty(t, b.Attempt.Reason)
			require.LessOrEqual(t, len(b.Attempt.Reason), 4<<10)
			require.True(t, utf8.ValidString(b.Attempt.Reason))
			require.Len(t, r.status().KnownBad, 1)
		})
	}
}
