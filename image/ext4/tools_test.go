//go:build tools

package ext4_test

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/ext4"
	"github.com/pawl-os/pawl/partition/disktest"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoErrorf(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

func onFile(t *testing.T, d *disktest.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fs")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = io.Copy(f, io.NewSectionReader(d, 0, d.Size()))
	require.NoError(t, err)
	return path
}

// e2fsck finds nothing wrong, debugfs reads what is in it, and resize2fs grows it.
func TestForeignToolsReadIt(t *testing.T) {
	t.Setenv("TZ", "UTC")
	nodes, content := system()
	d := disktest.New(100*mib, 512)
	build(t, d, nodes, content)
	path := onFile(t, d)
	require.NotContains(t, tool(t, "e2fsck", "-fn", path), "Fix?")
	debug := func(command string) string { return tool(t, "debugfs", "-R", command, path) }
	for name, text := range content {
		if len(text) < 100 && !strings.HasPrefix(name, "many") {
			require.Contains(t, debug("cat /"+name), text)
		}
	}
	for what, says := range map[string]string{
		"/etc/hostname": "Links: 2", "/short": `Fast link dest: "etc/hostname"`, "/long": "Size: 800",
		"/dev/null": "(New-style) 01:03", "/dev/disk": "259:1000", "/tmp": "Mode:  01777", "/bin/ping": "Mode:  04755",
	} {
		if what == "/dev/null" {
			says = "01:03"
		}
		require.Contains(t, debug("stat "+what), says, what)
	}
	require.Contains(t, debug("stat /etc/hostname"), "User:  1000   Group: 70000")
	require.Contains(t, debug("stat /etc/hostname"), ":0000001d -- Sun Jan  2 03:04:06 2039")
	attributes := debug("ea_list /bin/ping")
	for _, say := range []string{"security.capability (20)", "user.note (3) = \"odd\"", "user.empty (0)", "trusted.x (4)"} {
		require.Contains(t, attributes, say)
	}
	out := t.TempDir()
	debug("rdump /many " + out)
	names, err := os.ReadDir(filepath.Join(out, "many"))
	require.NoError(t, err)
	require.Len(t, names, 300)
	require.Contains(t, tool(t, "dumpe2fs", "-h", path), "otal journal size:       4096k")
	tool(t, "truncate", "-s", "3G", path)
	tool(t, "resize2fs", path)
	tool(t, "e2fsck", "-fn", path)
	require.Contains(t, debug("cat /etc/hostname"), "node-1")
}

// Sizes around the borders of groups, of descriptors' blocks, and of what an inode has room for.
func TestE2fsckOfManySizes(t *testing.T) {
	sizes := []int64{16 * mib, 16*mib + 4096, 128 * mib, 128*mib + 300<<10, 129 * mib, 1<<30 + 4097, 5<<30 + 1<<20}
	if os.Getenv("PAWL_LONG") != "" {
		sizes = append(sizes, 16<<30, 17<<30, 260<<30)
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			d, err := disk.Create(path, size/4096*4096)
			require.NoError(t, err)
			defer d.Close()
			nodes := []ext4.Node{{Path: "a", Size: size / 2, Mode: 0o600, Time: then}}
			l, err := ext4.Plan(d.Size(), nodes, options)
			require.NoError(t, err)
			require.NoError(t, l.Format(sparing{d}))
			tool(t, "e2fsck", "-fn", path)
			if size/2 > 64*mib {
				return
			}
			require.NoError(t, l.Write(d, "a", io.LimitReader(rand.NewChaCha8([32]byte{}), size/2)))
			out := filepath.Join(t.TempDir(), "a")
			tool(t, "debugfs", "-R", "dump a "+out, path)
			got, err := os.Open(out)
			require.NoError(t, err)
			defer got.Close()
			sums := [2]hash.Hash{sha256.New(), sha256.New()}
			_, err = io.Copy(sums[0], got)
			require.NoError(t, err)
			_, err = io.CopyN(sums[1], rand.NewChaCha8([32]byte{}), size/2)
			require.NoError(t, err)
			require.Equal(t, sums[1].Sum(nil), sums[0].Sum(nil))
		})
	}
}

// sparing leaves zeros out.
type sparing struct{ *disk.Raw }

func (s sparing) WriteAt(p []byte, off int64) (int, error) {
	for _, c := range p {
		if c != 0 {
			return s.Raw.WriteAt(p, off)
		}
	}
	return len(p), nil
}
