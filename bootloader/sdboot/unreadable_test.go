package sdboot_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// A cut can leave the sector that was being written unreadable. The loader boots without it, so the next upgrade must
// work too: it writes the sector again.
func TestAnUnreadableSectorStopsNothing(t *testing.T) {
	for _, path := range []string{conf, entryB} {
		t.Run(path, func(t *testing.T) {
			r := installed(t)
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
			spoil(t, r, path)
			r = boot(t, r, bootloader.A)
			st := state(t, r)
			require.Equal(t, bootloader.A, st.Default)
			require.NotEmpty(t, st.Warnings)

			require.NoError(t, r.Withdraw(bootloader.B))
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
			require.NoError(t, r.Arm(bootloader.B, 1))
			r = boot(t, r, bootloader.B)
			require.NoError(t, r.Confirm(bootloader.B))
			require.Empty(t, state(t, boot(t, r, bootloader.B)).Warnings)
		})
	}
}

// spoil makes the sector of a file unreadable.
func spoil(t *testing.T, r *loadertest.Rig, path string) {
	t.Helper()
	want, err := r.FS.ReadFile(path)
	require.NoError(t, err)
	got := make([]byte, 512)
	for off := int64(0); off < r.Disk.Size(); off += 512 {
		_, err := r.Disk.ReadAt(got, off)
		require.NoError(t, err)
		if bytes.Equal(got, want) {
			r.Disk.Spoil(off, 512)
			return
		}
	}
	t.Fatalf("the sector of %s is not found", path)
}
