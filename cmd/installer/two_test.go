package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/virtual"
	"github.com/pawl-os/pawl/upgrade"
)

// While an upgrade writes, every other command that would write is refused, and those that look are not. The upgrade
// itself notices nothing.
func TestUpgradeWhileAnotherRuns(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	two, three := f.reference("2.0.0", virtual.Spec{Size: 2 << 20}), f.reference("3.0.0", virtual.Spec{})
	first := b.start("upgrade", "--image", two)
	first.until(upgrade.StepWrite, 0)
	for _, command := range [][]string{{"upgrade", "--image", three}, {"rollback"}, {"confirm"}, {"meta", "reset"}} {
		second := b.start(command[0], command[1:]...)
		status, out := second.finish()
		require.Equal(t, exitRefused, status, out)
		require.Contains(t, out, "another program has locked "+b.disk)
		require.Contains(t, out, "wait for it, and try again")
	}
	status, out := run(t, "install", "--image", three, "--disk", b.disk, "--force")
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, "another program has locked "+b.disk)
	for _, command := range [][]string{{"status"}, {"plan", "--image", three}} {
		status, out := b.start(command[0], command[1:]...).finish()
		require.Zero(t, status, out)
	}
	status, out = first.finish()
	require.Zero(t, status, out)
	boots := b.boot()
	require.True(t, boots.Trial && boots.Slot == bootloader.B, "%s", boots)
}

// An upgrade that is asked to end says so, exits with 1 and leaves nothing armed.
func TestInterruptedUpgrade(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{Size: 4 << 20})
	for _, in := range []upgrade.Step{upgrade.StepFind, upgrade.StepWrite, upgrade.StepVerify, upgrade.StepPrepare} {
		b := f.box(t)
		p := b.start("upgrade", "--image", two)
		p.until(in, 0)
		if in == upgrade.StepFind {
			p.until(upgrade.StepDisarm, 0) // before it the process may not listen to signals yet
		}
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		status, out := p.finish()
		require.Equal(t, exitOther, status, out)
		require.Contains(t, out, "terminated signal received")
		boots, _ := b.model()
		require.Equal(t, bootloader.A, boots.Slot)
		status, out = b.on("upgrade", "--image", two)
		require.Zero(t, status, out)
	}
}
