//go:build vm && long

package exampleos_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// A machine gets a second boot file system on another disk and is upgraded. Then its first disk is taken out: it starts
// the version that was confirmed, and says what it runs from. With both disks it is as before.
func TestADiskIsTakenOut(t *testing.T) {
	m := prepare(t)
	second := filepath.Join(t.TempDir(), "second.raw")
	require.NoError(t, os.WriteFile(second, nil, 0o600))
	require.NoError(t, os.Truncate(second, 1200<<20))
	disks := []vmtest.Disk{{Path: m.disk("1.0.0"), PCI: 0x10}, {Path: second, PCI: 0x11}}
	m.config.Disks = disks
	m.start()
	m.ready("1.0.0", "A")
	require.Contains(t, m.do("run installer mirror --on /dev/vdb"), "is in step: it starts version 1.0.0.")
	m.upgrade("2.0.0")
	m.restart()
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	m.foretold("of /dev/vdb, is in step: it starts version 2.0.0.", "result: fine")

	m.cut(func() { m.config.Disks = disks[1:] })
	e, err := m.vm.Event(within, "warning")
	require.NoError(t, err)
	require.Contains(t, e.Values["reason"], "this machine runs from its second boot file system")
	require.Contains(t, m.refused("run installer status"), "this machine runs from its second boot file system")
	require.Contains(t, m.do("cat /etc/os-release"), "VERSION_ID=2.0.0")

	m.cut(func() { m.config.Disks = disks })
	m.ready("2.0.0", "B")
	m.foretold("of /dev/vdb, is in step: it starts version 2.0.0.", "result: fine")
}
