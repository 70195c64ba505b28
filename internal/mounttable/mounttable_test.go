package mounttable_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/mounttable"
)

func TestEachMountIsReadOrTheTableIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	const before = "30 22 254:5 / /var/data\\040x rw,nosuid shared:9 - ext4 /dev/vda5 rw,data=ordered\n"
	long := "31 22 0:40 / /overlay rw - overlay overlay rw,lowerdir=" + strings.Repeat("/a:", 1<<20) + "\n"
	require.NoError(t, os.WriteFile(path, []byte(before+long+"32 22 0:5 / /dev rw - devtmpfs  rw\n"), 0o600))
	found, err := mounttable.Read(path)
	require.NoError(t, err)
	var at []string
	for _, m := range found {
		at = append(at, m.Mountpoint)
	}
	require.Equal(t, []string{"/var/data x", "/overlay", "/dev"}, at)
	require.Equal(t, "rw,data=ordered", found[0].VFSOptions)

	require.NoError(t, os.WriteFile(path, []byte(before+"broken line\n"), 0o600))
	_, err = mounttable.Read(path)
	require.ErrorContains(t, err, "not enough fields", "a mount may be behind it")
	_, err = mounttable.Read("/proc/self/mountinfo")
	require.NoError(t, err)
}
