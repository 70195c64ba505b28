//go:build root

package api

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/node/api/access"
)

// dialAs connects as another user: the kernel takes down who the thread is.
func dialAs(uid, gid, further int) func(ctx context.Context, path string) (net.Conn, error) {
	return func(ctx context.Context, path string) (c net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and the thread ends with the goroutine
			groups := []uint32{uint32(further)}
			for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&groups[0])), 0},
				{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
				{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)}} {
				if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
					err = errno
					return
				}
			}
			c, err = dialAsSelf(ctx, path)
		}()
		<-done
		return c, err
	}
}

func TestEveryMethodByEveryRoleOverASocket(t *testing.T) {
	require.Zero(t, os.Geteuid(), "this test needs root")
	const user, group, other = 54321, 54322, 54323
	for _, role := range roles[1:] {
		control, err := access.New(access.Options{Group: "54322", GroupRole: role})
		require.NoError(t, err)
		path := filepath.Join(open(t), "s")
		a := newAPI(dull(t), Options{Access: control})
		served(t, a, "unix:"+path)
		require.NoError(t, control.OpenSocket(path))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o660, info.Mode())
		t.Run("a further group, "+string(role), func(t *testing.T) {
			everyMethod(t, overSocket(t, dialAs(user, other, group), path), "http://node", role)
		})
		t.Run("the first group, "+string(role), func(t *testing.T) {
			everyMethod(t, overSocket(t, dialAs(user, group, other), path), "http://node", role)
		})
		t.Run("root", func(t *testing.T) {
			everyMethod(t, overSocket(t, dialAs(0, other, other), path), "http://node", access.Admin)
		})
		t.Run("another user", func(t *testing.T) {
			h := overSocket(t, dialAs(user, other, other), path)
			_, err := h.Post("http://node/pawl.v1.Node/Version", "application/json", http.NoBody)
			require.ErrorIs(t, err, unix.EACCES)
			require.NoError(t, os.Chmod(path, 0o666)) // somebody's slip
			everyMethod(t, h, "http://node", access.None)
		})
	}
}

// open is a directory that others can look into.
func open(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "pawl-socket-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}
