package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// While an upgrade writes, every other command that would write is refused, and those that look are not. The upgrade
// itself notices nothing.
func TestUpgradeWhileAnotherRuns(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	two, three := f.reference("2.0.0", virtual.Spec{Size: 2 << 20}), f.reference("3.0.0", virtual.Spec{})
	first := b.start("upgrade", "--image", two)
	first.until(progress.StepWrite, 0)
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
	for _, command := range [][]string{{"status"}, {"doctor"}, {"plan", "--image", three}} {
		status, out := b.start(command[0], command[1:]...).finish()
		require.Zero(t, status, out)
	}
	status, out = first.finish()
	require.Zero(t, status, out)
	boots := b.boot()
	require.True(t, boots.Trial && boots.Slot == bootloader.B, "%s", boots)
}

// An upgrade that is asked to end, here while it waits for a registry that has fallen silent, says so, exits with 1 and
// leaves nothing armed. The same upgrade then ends right.
func TestInterruptedUpgrade(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	r := f.registry()
	kernel := make([]byte, 2<<20) // random: as long packed as unpacked
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(kernel)
	asset, err := pack.UKI(pack.UKIParts{
		Stub: section(loadertest.Stub()), Linux: section(kernel), Cmdline: "panic=1",
		OSRelease: "ID=virtual\nVERSION_ID=2.0.0\n",
	})
	require.NoError(t, err)
	f.reference("2.0.0", virtual.Spec{Assets: []pack.Asset{asset}})
	to := f.pushed(r, "2.0.0")
	r.Fault(testregistry.Fault{Path: "/blobs/", StallAfter: 1 << 20})

	b := f.box(t)
	p := b.start("upgrade", "--image", to)
	p.until(progress.StepWrite, 0)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	status, out := p.finish()
	require.Equal(t, exitOther, status, out)
	require.Contains(t, out, "terminated signal received")
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot)

	r.Heal()
	status, out = b.on("upgrade", "--image", to)
	require.Zero(t, status, out)
	require.True(t, b.boot().Trial)
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}
