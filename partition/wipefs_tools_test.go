//go:build tools

package partition

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What other tools make is named, and after a wipe wipefs finds nothing any more; nor does it of any mark that is known
// here.
func TestWipefsFindsNothingAfterAWipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	wipe := func() {
		d, err := Open(path, OpenOptions{})
		require.NoError(t, err)
		require.NoError(t, Wipe(d))
		require.NoError(t, d.Close())
		require.Empty(t, run("wipefs", "--no-act", path))
	}
	blank := func() {
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Truncate(path, 80*mib))
	}
	for name, args := range map[string][]string{
		"an ext2, ext3 or ext4 file system": {"mkfs.ext4", "-q", "-F", path},
		"a FAT file system":                 {"mkfs.vfat", path},
		"swap space":                        {"mkswap", path},
		"a minix file system":               {"mkfs.minix", path},
	} {
		blank()
		run(args[0], args[1:]...)
		require.NotEmpty(t, run("wipefs", "--no-act", path))
		d, err := Open(path, OpenOptions{ReadOnly: true})
		require.NoError(t, err)
		_, err = Read(d)
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "found "+name)
		require.NoError(t, d.Close())
		wipe()
	}
	var paths []string
	for _, m := range marks {
		for _, at := range m.at {
			path = filepath.Join(t.TempDir(), fmt.Sprint("disk", len(paths)))
			paths = append(paths, path)
			blank()
			if at < 0 {
				at += 80 * mib
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(m.text), at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	found := run("wipefs", append([]string{"--no-act", "--noheadings"}, paths...)...)
	known := map[string]bool{} // others want more than the mark
	for line := range strings.Lines(found) {
		known[strings.Fields(line)[0]] = true
	}
	require.Greater(t, len(known), 30)
	for _, path := range paths {
		d, err := Open(path, OpenOptions{})
		require.NoError(t, err)
		require.NoError(t, Wipe(d))
		require.NoError(t, d.Close())
	}
	require.Empty(t, run("wipefs", append([]string{"--no-act"}, paths...)...))
}
