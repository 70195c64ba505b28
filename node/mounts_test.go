package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMountsOfADevice(t *testing.T) {
	const info = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 254:5 / /var/data\040x rw,nosuid,noatime shared:9 - ext4 /dev/vda5 rw,seclabel,data=ordered
31 22 0:5 / /dev rw - devtmpfs devtmpfs rw
32 30 254:5 /pods /pods ro,nodev - ext4 /dev/vda5 rw,data=ordered
`
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(info), nil)
	require.NoError(t, err)
	require.Equal(t, []mountPoint{
		{at: "/var/data x", flags: unix.MS_NOSUID | unix.MS_NOATIME, kind: "ext4", source: "/dev/vda5",
			data: "data=ordered"},
		{at: "/pods", flags: unix.MS_BIND, source: "/var/data x/pods"},
	}, mountsOf(mounts, unix.Mkdev(254, 5)))
	require.Empty(t, mountsOf(mounts, unix.Mkdev(254, 6)))
}

func TestHoldersAreNamed(t *testing.T) {
	proc, data := t.TempDir(), t.TempDir()
	file := filepath.Join(data, "open")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(file, &st))
	for pid, links := range map[string]map[string]string{
		"7":  {"fd/3": file},
		"8":  {"cwd": data, "root": data},
		"9":  {"fd/1": "/dev/null"},
		"10": {"fd/1": "/nowhere"},
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(proc, pid, "fd"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(proc, pid, "comm"), []byte("name of "+pid+"\n"), 0o644))
		for name, to := range links {
			require.NoError(t, os.Symlink(to, filepath.Join(proc, pid, name)))
		}
	}
	who, err := holders(proc, st.Dev)
	require.NoError(t, err)
	require.Equal(t, []string{"process 7 (name of 7)", "process 8 (name of 8)"}, who)
	who, err = holders(proc, st.Dev+1000)
	require.NoError(t, err)
	require.Empty(t, who)
	_, err = holders(filepath.Join(proc, "none"), st.Dev)
	require.Error(t, err, "that is not nobody")
}

func TestWhatIsBusyIsTriedAgainForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake().server(t, Config{})
		tries := 0
		require.NoError(t, s.release(t.Context(), "/data", func() error {
			if tries++; tries < 10 {
				return unix.EBUSY
			}
			return nil
		}, 0))
		begun := time.Now()
		err := s.release(t.Context(), "/data", func() error { return unix.EBUSY }, unix.Mkdev(254, 99))
		require.ErrorIs(t, err, unix.EBUSY)
		require.ErrorContains(t, err, "no process of this machine shows that it holds it")
		require.InDelta(t, UnmountDeadline, time.Since(begun), float64(time.Second))
		odd := errors.New("odd")
		require.Equal(t, odd, s.release(t.Context(), "/data", func() error { return odd }, 0))
	})
}

func TestOnAnImageFileThereIsNothingToUnmount(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(disk, nil, 0o644))
	s, err := New(Config{Disk: disk, Unmount: []string{"EPHEMERAL"}})
	require.NoError(t, err)
	defer s.Close()
	var was mounted
	require.NoError(t, s.unmountAll(t.Context(), &was))
	require.NoError(t, s.free(t.Context()))
	require.Empty(t, was.points)
}
