package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// A disk is looked at in the file that a hypervisor has, and never changed there.
func TestDisksInFilesOfOtherFormats(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	for name, flags := range map[string][]string{
		"disk.qcow2": nil, "packed.qcow2": {"--compress"}, "large.qcow2": {"--sector-size", "4096"}, "disk.vhd": nil,
		"dynamic": {"--output-format", "vhd-dynamic"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(scratch(t), name)
			status, out := run(t, append([]string{"image", "--image", f.one, "--output", path, "--size", "2GiB"},
				flags...)...)
			require.Zero(t, status, out)
			before, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Chmod(path, 0o400)) // it is enough to be able to read it

			vars := filepath.Join(t.TempDir(), "efivars")
			require.NoError(t, os.Mkdir(vars, 0o700))
			on := []string{"--disk", path, "--efivars", vars}
			for command, says := range map[string]string{
				"status": "slot A   complete 1.0.0", "doctor": "boot 1: slot A, 1.0.0", "disk show": "EPHEMERAL",
			} {
				status, out = run(t, append(strings.Fields(command), on...)...)
				require.Zero(t, status, "%s: %s", command, out)
				require.Contains(t, out, says)
			}
			for _, command := range []string{
				"upgrade --image " + two, "rollback", "confirm", "loader", "doctor --repair", "disk repair",
				"disk grow",
				"disk wipe --partition STATE", "meta reset",
			} {
				status, out = run(t, append(strings.Fields(command), on...)...)
				require.Equal(t, exitDisk, status, "%s: %s", command, out)
				require.Contains(t, out, "only raw disk images can be changed")
			}
			status, out = run(t, "install", "--image", two, "--disk", path, "--force")
			require.Equal(t, exitDisk, status, out)
			after, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, before.ModTime(), after.ModTime())
		})
	}
}

func TestDisksInFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	path := filepath.Join(scratch(t), "disk.qcow2")
	status, out := run(t, "image", "--image", f.one, "--output", path, "--size", "2GiB")
	require.Zero(t, status, out)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-1))
	vmdk := path + ".vmdk"
	status, out = run(t, "image", "--image", f.one, "--output", vmdk, "--size", "2GiB")
	require.Zero(t, status, out)
	for file, says := range map[string]string{path: "the disk image is cut off",
		vmdk: "it is a vmdk, which cannot be read"} {
		for _, command := range []string{"status", "doctor", "disk show"} {
			status, out = run(t, append(strings.Fields(command), "--disk", file)...)
			require.Equal(t, exitDisk, status, out)
			require.Contains(t, out, says)
		}
	}
}
