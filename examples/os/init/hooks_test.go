package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade"
)

// installed is a disk in a file.
func installed(t *testing.T) string {
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	ref, err := images.Reference("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	img, err := image.Open(t.Context(), ref, image.Options{Arch: "amd64"})
	require.NoError(t, err)
	raw, err := disk.Create(filepath.Join(t.TempDir(), "disk.raw"), virtual.Size)
	require.NoError(t, err)
	require.NoError(t, upgrade.Install(t.Context(), raw, img, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	require.NoError(t, raw.Close())
	return raw.Name()
}

func (h *hooks) records(t *testing.T) (now records) {
	require.NoError(t, h.update(func(r *records) error { now = *r; return nil }))
	return now
}

func TestHooksKeepRecords(t *testing.T) {
	path := installed(t)
	run := func(h *hooks, p node.Phase) error { return h.run(context.Background(), node.Occasion{Phase: p}) }
	old, next := &hooks{version: "1.0.0", disk: path}, &hooks{version: "2.0.0", disk: path}
	require.NoError(t, old.read())
	require.NoError(t, run(old, node.PhaseCordon))
	require.ErrorIs(t, run(old, node.PhaseCordon), node.ErrAlready)
	require.NoError(t, run(old, node.PhaseLeave))
	require.Equal(t, records{Cordoned: true, Left: true, Config: "1.0.0"}, old.records(t))

	require.NoError(t, next.read())
	for range 2 {
		require.NoError(t, run(next, node.PhaseMigrate))
		require.Equal(t, records{Cordoned: true, Left: true, Config: "2.0.0", Before: "1.0.0"}, next.records(t))
	}
	for range 2 {
		require.NoError(t, run(old, node.PhaseRevert))
		require.NoError(t, run(old, node.PhaseRejoin))
		require.NoError(t, run(old, node.PhaseUncordon))
		require.Equal(t, records{Config: "1.0.0"}, old.records(t))
	}

	old.fail([]string{"drain"})
	require.ErrorContains(t, run(old, node.PhaseDrain), "as it was told to")
	old.fail(nil)
	require.NoError(t, run(old, node.PhaseDrain))
}

func TestAStopOutlivesARestartAndHappensOnce(t *testing.T) {
	path := installed(t)
	h := &hooks{version: "1.0.0", disk: path}
	require.NoError(t, h.stopAt([]string{"trial/checks"}))
	h.reached("upgrade/drain")
	next := &hooks{version: "2.0.0", disk: path}
	require.NoError(t, next.read())
	require.Equal(t, "trial/checks", next.stop)
	go next.reached("trial/checks") // and never comes back
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Contains(data, []byte(`"stop":""`))
	}, 10*time.Second, 50*time.Millisecond)
}
