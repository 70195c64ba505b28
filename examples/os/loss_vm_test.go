//go:build vm && long

package exampleos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

func TestSecondDiskWithALoaderInFront(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0")
	own := m.config.Disks[0] // the firmware knows it by its place
	m.cut(func() { m.config.Disks = []vmtest.Disk{{Path: m.disk("3.0.0"), PCI: 0x8}, own} })
	m.trial("2.0.0", "B") // BootOrder names our disk
	m.ready("2.0.0", "B")

	m.cut(m.forget) // now the firmware takes the first disk, and neither touches the other
	e := m.ready("3.0.0", "A")
	require.Equal(t, "/dev/vda", e.Values["disk"])
	out, code, err := m.vm.Do("run installer upgrade --disk /dev/vdb --image "+m.Remote("1.0.0"), within)
	require.NoError(t, err)
	require.Equal(t, 4, code, out)
	m.cut(func() { // OVMF's own entry for our disk has moved behind the shell by now: docs/explanation/firmware.md
		m.config.Disks = []vmtest.Disk{own}
		m.forget()
	})
	m.ready("2.0.0", "B")
}
