package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// A machine gets a second boot file system on its own disk, is upgraded, and starts from it once the first is destroyed.
func TestMirrorOnTheMachinesOwnDisk(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	status, out := b.on("mirror")
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, "do: nothing; `installer mirror --on DISK` makes one")
	status, out = b.on("mirror", "--on", b.disk)
	require.Equal(t, exitDisk, status, out)
	require.Contains(t, out, partition.ErrNoSpace.Error())

	require.NoError(t, os.Truncate(b.disk, 2*virtual.Size))
	m := b.open("boot-1", "1.0.0")
	_, err := m.Started(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	status, out = b.on("mirror", "--on", b.disk)
	require.Zero(t, status, out)
	require.Equal(t, "The second boot file system, partition 6 (EFI-MIRROR) of the machine's own disk, is in step: it "+
		"starts version 1.0.0.\n", out)
	status, out = b.on("doctor")
	require.Zero(t, status, out)
	require.Contains(t, out, "fine: second boot file system: The second boot file system, partition 6")
	require.Contains(t, out, "result: fine")

	status, out = b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{}))
	require.Zero(t, status, out)
	require.Equal(t, bootloader.B, b.boot().Slot)
	b.runs("2.0.0")
	status, out = b.on("confirm")
	require.Zero(t, status, out)
	status, out = b.on("status")
	require.Zero(t, status, out)
	require.NotContains(t, out, "second boot file system", "the confirm brought it in step")
	two := b.boot()
	require.Equal(t, bootloader.B, two.Slot)

	whole := b.content()
	off, size := f.place("EFI")
	b.patch(off, make([]byte, size))
	left := b.boot()
	require.Equal(t, two.Digest, left.Digest, "%v", left)
	status, out = b.on("doctor")
	require.Equal(t, exitBroken, status, out)
	b.writeDisk(whole) // and the first one is there again, in a boot from the second
	status, out = b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "This boot was started from it and not from the first one")
	status, out = b.on("mirror")
	require.Equal(t, exitRefused, status, out)
	status, out = b.on("confirm")
	require.Equal(t, exitRefused, status, out)
	status, out = b.on("upgrade", "--image", f.reference("3.0.0", virtual.Spec{}))
	require.Equal(t, exitRefused, status, out)
	require.Equal(t, two.Digest, b.boot().Digest)

	status, out = b.on("mirror", "--remove")
	require.Zero(t, status, out)
	status, out = b.on("doctor")
	require.Zero(t, status, out)
	require.NotContains(t, out, "second boot file system")
	b.patch(off, make([]byte, size))
	require.NotEmpty(t, b.boot().Stuck, "it starts nothing any more")
}

// On another disk, in a file: where that is not named, it is gone.
func TestMirrorOnAnotherDisk(t *testing.T) {
	t.Parallel()
	b := newFactory(t).box(t)
	other := filepath.Join(filepath.Dir(b.disk), "other.raw")
	status, out := b.on("mirror", "--on", other)
	require.Equal(t, exitUsage, status, out)
	require.NoError(t, os.WriteFile(other, []byte("#!/bin/sh\n"), 0o600))
	status, out = b.on("mirror", "--on", other)
	require.Equal(t, exitDisk, status, out)
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	require.NoError(t, os.Truncate(other, virtual.Size))
	status, out = b.on("mirror", "--on", other, "--remove")
	require.Equal(t, exitUsage, status, out)
	status, out = b.on("mirror", "--on", other)
	require.Zero(t, status, out)
	require.Contains(t, out, "partition 1 (EFI-MIRROR) of "+other+", is in step: it starts version 1.0.0.")
	require.Contains(t, out, "has no entry of ours yet, which this boot adds; restart once", "the box was never started")
	status, out = b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "the second boot file system is gone")
	status, out = b.on("doctor")
	require.Zero(t, status, out)
	require.Contains(t, out, "degraded: second boot file system:")
	status, out = b.on("mirror", "--remove")
	require.Zero(t, status, out)
	require.Contains(t, out, "There is no second boot file system any more.")
}
