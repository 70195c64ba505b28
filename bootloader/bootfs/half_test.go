package bootfs_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// Two files of that size fit, whichever comes first; two that are larger by a page of the table's clusters do not.
func TestHalf(t *testing.T) {
	zones := []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT"}
	for _, c := range []struct {
		size    int64
		unit    int
		cluster int64
	}{
		{34 << 20, 512, 512}, {40 << 20, 512, 512}, {100 << 20, 512, 1024}, {528 << 20, 512, 4096},
		{1 << 30, 512, 4096}, {9 << 30, 512, 8192}, {300 << 20, 4096, 4096},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.size, c.unit), func(t *testing.T) {
			half, err := bootfs.Half(c.size, c.unit, zones)
			require.NoError(t, err)
			require.Less(t, half, c.size/2)
			require.Greater(t, half, c.size/4)
			page := 32 << 10 / 4 * c.cluster
			for _, order := range [][2]string{{zones[0], zones[1]}, {zones[1], zones[0]}} {
				f, err := createFile(filepath.Join(t.TempDir(), "image"), c.size, c.unit)
				require.NoError(t, err)
				defer f.Close()
				require.NoError(t, bootfs.Format(f, bootfs.FormatOptions{}))
				v, err := bootfs.Open(f, bootfs.Options{Zones: zones})
				require.NoError(t, err)
				for _, z := range zones {
					require.NoError(t, v.Mkdir(z))
				}
				names := []string{"/os.efi", "/vmlinuz", "/initrd"} // a file has less than 4 GiB
				fill := func(z string, size int64) error {
					for _, name := range names {
						n := min(size, 4<<30-1<<20)
						if err := v.Allocate(z+name, n); err != nil {
							return err
						}
						size -= n
					}
					return nil
				}
				require.NoError(t, fill(order[0], half))
				require.Equal(t, half, v.Half(), "whatever they hold")
				require.NoError(t, fill(order[1], half))
				require.Equal(t, half, v.Half())
				for _, z := range order {
					require.NoError(t, v.Clear(z))
				}
				require.NoError(t, fill(order[0], half+page))
				require.ErrorIs(t, fill(order[1], half+page), bootfs.ErrFull)
			}
		})
	}
}

func TestHalfOfWhatIsTooSmall(t *testing.T) {
	_, err := bootfs.Half(1<<20, 512, []string{"A", "B"})
	require.ErrorContains(t, err, "room of a new boot file system of 1048576 bytes")
	_, err = bootfs.Half(64<<20, 512, []string{"A"})
	require.ErrorContains(t, err, "1 zones, want at least 2")
}
