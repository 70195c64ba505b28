//go:build vm

package exampleos_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
)

// buildArm64 makes versions for arm64, for systemd-boot and for GRUB.
var buildArm64 = sync.OnceValues(func() (map[string]*world, error) {
	w, err := build()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(w.Dir, "arm64-")
	if err != nil {
		return nil, err
	}
	parts, err := osimage.FindPartsFor("arm64")
	if err != nil {
		return nil, err
	}
	kit, err := oskit.New(context.Background(), dir, parts)
	if err != nil {
		return nil, err
	}
	worlds := map[string]*world{}
	for loader, add := range map[string]oskit.Add{
		loaders.SystemdBoot: kit.System.Add, loaders.GRUBUEFI: kit.System.AddForGRUB,
	} {
		if worlds[loader], err = packed(kit, loader, add, osimage.Panics, osimage.CorruptUKI); err != nil {
			return nil, err
		}
	}
	return worlds, nil
})

// onArm64 runs a scenario on an arm64 machine that runs 1.0.0 from slot A.
func onArm64(t *testing.T, loader string, scenario func(*machine)) {
	t.Parallel()
	worlds, err := buildArm64()
	require.NoError(t, err)
	m := worlds[loader].machine(t, loader)
	m.install("1.0.0")
	m.ready("1.0.0", "A")
	m.foretold("boot 1: slot A, 1.0.0: ", "result: fine")
	scenario(m)
}

// An arm64 machine is installed and upgraded; its doctor foresees each boot and finds nothing.
func TestUpgradeOnArm64(t *testing.T) {
	onArm64(t, loaders.SystemdBoot, (*machine).upgradeForetold)
}

func (m *machine) upgradeForetold() {
	m.upgrade("2.0.0")
	m.foretold("boot 1: slot B, 2.0.0, trial: ", "boot 2: slot A, 1.0.0: ", "result: fine")
	m.restart()
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Equal(m, "confirmed", m.status().Attempt.Result)
	m.foretold("boot 1: slot B, 2.0.0: ", "result: fine")
}

// What `make boots` has beside it: GRUB, and both loaders through a whole life, a panic and a kernel that does not
// load. Each boot is foretold.
func TestLivesOnArm64(t *testing.T) {
	if !long() {
		t.Log("only with PAWL_LONG")
		return
	}
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBUEFI} {
		t.Run(loader, func(t *testing.T) {
			onArm64(t, loader, func(m *machine) {
				m.wholeLife("") // ends in slot B
				for _, c := range []struct {
					broken osimage.Broken
					next   string // that a kernel panics is not foretold, that it does not load is
				}{{osimage.Panics, "boot 1: slot A, "}, {osimage.CorruptUKI, "boot 1: slot B, 2.1.0-check-state: "}} {
					tag := osimage.Version{Number: "2.1.0", Broken: c.broken}.Tag()
					m.upgrade(tag, "--force")
					m.foretold(c.next, "boot 2: slot B, 2.1.0-check-state: ")
					m.restart()
					m.ready("2.1.0-check-state", "B")
					require.Equal(m, "fell back", m.status().Attempt.Result)
				}
			})
		})
	}
}
