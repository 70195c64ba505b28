//go:build tools || vm

package bootfs_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// tree is what the tests put on a volume.
func tree() map[string][]byte {
	files := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":                                   content(1, 150_000),
		"EFI/pawl/A/os.efi":                                      content(2, 3<<20+11),
		"EFI/pawl/A/manifest.json":                               content(3, 700),
		"EFI/pawl/B/Łódź Привет.efi":                             content(4, 2<<20),
		"EFI/pawl/B/" + strings.Repeat("long ", 40) + "end.conf": content(5, 5000),
		"loader/loader.conf":                                     content(6, 512),
		"loader/entries/pawl-a.conf":                             content(7, 512),
		"loader/entries/empty":                                   {},
		"loader/two.dots.and spaces.conf":                        content(8, 4096),
	}
	for i := range 150 {
		files[fmt.Sprintf("many/file number %d.txt", i)] = content(uint64(i), 10*i)
	}
	return files
}

func bootfsReads(t testing.TB, f *bootfs.FS, files map[string][]byte) {
	t.Helper()
	for path, want := range files {
		data, err := f.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, data), path)
	}
}

// churn changes, removes and adds files everywhere.
func churn(t testing.TB, f *bootfs.FS, files map[string][]byte) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, path := range slices.Sorted(maps.Keys(files)) {
		data := files[path]
		switch {
		case r.IntN(3) == 0:
			require.NoError(t, f.Remove(path))
			delete(files, path)
		case r.IntN(2) == 0:
			data = content(r.Uint64(), len(data)+r.IntN(3000))
			require.NoError(t, f.WriteFile(path, data))
			files[path] = data
		}
	}
	require.NoError(t, f.Mkdir("new dir/below"))
	for i := range 40 {
		path := fmt.Sprintf("new dir/below/%s%d", strings.Repeat("x", r.IntN(40)), i)
		files[path] = content(r.Uint64(), r.IntN(20_000))
		require.NoError(t, f.WriteFile(path, files[path]))
	}
}
