//go:build vm && long

// What `make boots` boots beside the sample of `make test`.

package exampleos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
)

func TestFirmwareVariablesDeletedWhileArmed(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0")
	m.cut(m.forget)
	m.ready("1.0.0", "A")
	require.Equal(t, "fell back", m.status().Attempt.Result)

	m.upgrade("2.0.0") // the way back is made again
	m.restart()
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	m.cut(m.forget)
	m.ready("2.0.0", "B")
}

func TestMETAZeroedWhileArmed(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0")
	m.do("zero /dev/vda3")
	m.restart()
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	m.do("run installer meta reset --disk /dev/vda")

	m.upgrade("2.1.0-panic")
	m.do("zero /dev/vda3")
	m.restart()
	m.trial("2.1.0-panic", "A")
	m.ready("2.0.0", "B")
}

func TestWholeLifeOnGRUB(t *testing.T) {
	t.Parallel()
	onGRUB(t, loaders.GRUBUEFI, func(m *machine) { m.wholeLife("--tries 3") })
}
