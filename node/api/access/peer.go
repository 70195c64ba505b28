package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// group may use the Unix socket.
type group struct {
	id   int
	role Role
}

// groupID is the number of a group that is named, or given as its number.
func groupID(name string) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// peer is the process at the other end of a Unix socket, as it was when it connected.
type peer struct {
	pid    int32
	uid    int
	groups []uint32
	err    error // why the kernel did not say
}

type peerKey struct{}

// Connected returns ctx with what is known of the other end of a connection.
func (c *Control) Connected(ctx context.Context, conn net.Conn) context.Context {
	if local, ok := conn.(*net.UnixConn); ok {
		return context.WithValue(ctx, peerKey{}, peerOf(local))
	}
	return ctx
}

func peerOf(c *net.UnixConn) (p peer) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			p.err = err
			return
		}
		p.pid, p.uid = cred.Pid, int(cred.Uid)
		p.groups, p.err = peerGroups(fd)
		p.groups = append(p.groups, cred.Gid)
	})
	return peer{p.pid, p.uid, p.groups, errors.Join(p.err, err)}
}

// peerGroups are the further groups of a process.
func peerGroups(fd uintptr) ([]uint32, error) {
	const all = 65536 // more than a process may have
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno != unix.ERANGE || len(groups) >= all:
			return nil, fmt.Errorf("ask for the groups of a caller: %w", errno)
		}
		groups = make([]uint32, all)
	}
}

// local is who a process of this machine is.
func (c *Control) local(p peer) (Caller, error) {
	if p.err != nil {
		return Caller{}, fmt.Errorf("the kernel does not say who calls: %w: %w", p.err, ErrUnknown)
	}
	who := Caller{Name: fmt.Sprintf("uid %d (pid %d)", p.uid, p.pid), From: "socket"}
	switch {
	case p.uid == 0 || p.uid == os.Geteuid():
		who.Role = Admin
	case c.group != nil && slices.Contains(p.groups, uint32(c.group.id)):
		who.Role = c.group.role
	}
	return who, nil
}

// OpenSocket lets the group in to the Unix socket at path, which is its owner's alone until then. Without a group it
// does nothing.
func (c *Control) OpenSocket(path string) error {
	if c.group == nil {
		return nil
	}
	err := os.Chown(path, -1, c.group.id)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return fmt.Errorf("let a group in to the socket: %w", err)
	}
	return nil
}
