package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/internal/mounttable"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// UnmountDeadline is how long what holds a partition of Config.Unmount may take to let go of it when Config does not
// say.
const UnmountDeadline = time.Minute

// letGoEvery is how often it is tried.
const letGoEvery = 200 * time.Millisecond

// mounted is what was unmounted, in the order of mounting.
type mounted struct{ points []mountPoint }

// mountPoint is a mount, as mount(2) makes it.
type mountPoint struct {
	at           string
	flags        uintptr
	kind, source string
	data         string // options of the file system
}

// unmountAll unmounts what is mounted of the partitions in Config.Unmount, the latest first, and remembers it. A file
// system that stays busy is an error that names who holds it.
func (s *Server) unmountAll(ctx context.Context, was *mounted) error {
	for _, label := range s.config.Unmount {
		node, err := s.partitionNode(label)
		if err != nil {
			return fmt.Errorf("unmount %s: %w", label, err)
		}
		if node == "" {
			continue // an image file
		}
		var st unix.Stat_t
		if err := unix.Stat(node, &st); err != nil {
			return fmt.Errorf("unmount %s: %s: %w", label, node, err)
		}
		mounts, err := mounttable.Read("/proc/self/mountinfo")
		if err != nil {
			return fmt.Errorf("unmount %s: read the mount table: %w", label, err)
		}
		for _, p := range slices.Backward(mountsOf(mounts, st.Rdev)) {
			if err := s.release(ctx, p.at, func() error { return unix.Unmount(p.at, unix.UMOUNT_NOFOLLOW) },
				st.Rdev); err != nil {
				return fmt.Errorf("unmount %s: %w", label, err)
			}
			was.points = append([]mountPoint{p}, was.points...)
		}
	}
	return nil
}

// release tries until nothing is busy any more, or the time is over; then the error names the processes that hold it.
func (s *Server) release(ctx context.Context, what string, try func() error, device uint64) error {
	end := time.Now().Add(s.config.UnmountDeadline)
	for {
		err := try()
		if err == nil || !errors.Is(err, unix.EBUSY) && !errors.Is(err, partition.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(letGoEvery):
			if time.Now().Before(end) {
				continue
			}
		}
		who, failed := holders("/proc", device)
		switch {
		case failed != nil:
			return fmt.Errorf("%s: %w (who holds it cannot be found out: %w)", what, err, failed)
		case len(who) > 0:
			return fmt.Errorf("%s is held by %s: %w", what, strings.Join(who, ", "), err)
		}
		return fmt.Errorf("%s: %w (no process of this machine shows that it holds it)", what, err)
	}
}

// free sees that nothing holds the partitions of Config.Unmount, here or in another mount name space: each is opened
// exclusively for a moment.
func (s *Server) free(ctx context.Context) error {
	for _, label := range s.config.Unmount {
		node, err := s.partitionNode(label)
		if err != nil {
			return fmt.Errorf("see that %s is free: %w", label, err)
		}
		if node == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(node, &st); err != nil {
			return fmt.Errorf("see that %s is free: %w", label, err)
		}
		err = s.release(ctx, node, func() error {
			d, err := partition.Open(s.config.Disk, partition.OpenOptions{Partitions: true})
			if err != nil {
				return err
			}
			p, err := d.Partition(label)
			if err == nil {
				err = p.Close()
			}
			return errors.Join(err, d.Close())
		}, st.Rdev)
		if err != nil {
			return fmt.Errorf("see that %s is free: %w", label, err)
		}
	}
	return nil
}

// partitionNode is the device node of a partition; empty where the disk is an image file, on which nothing is mounted.
func (s *Server) partitionNode(label string) (node string, err error) {
	info, err := os.Stat(s.config.Disk)
	if err != nil || info.Mode().IsRegular() {
		return "", err
	}
	d, err := partition.Open(s.config.Disk, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.Partition(label)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	named, ok := p.Device.(device.Named)
	if !ok {
		return "", fmt.Errorf("partition %s has no device node", label)
	}
	return named.Path(), nil
}

// back mounts what was unmounted, in the order in which it was mounted.
func (m *mounted) back() error {
	var errs []error
	for _, p := range m.points {
		err := unix.Mount(p.source, p.at, p.kind, p.flags, p.data)
		if errors.Is(err, unix.EINVAL) {
			err = unix.Mount(p.source, p.at, p.kind, p.flags, "") // it shows options that it does not take
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mount %s on %s again: %w", p.source, p.at, err))
		}
	}
	m.points = nil
	return errors.Join(errs...)
}

// mountsOf are the mounts of a device, in order. The source of a mount of a part of it (a bind mount) is the part's
// path.
func mountsOf(mounts []*mountinfo.Info, device uint64) (found []mountPoint) {
	whole := "" // where all of it is mounted
	for _, m := range mounts {
		if unix.Mkdev(uint32(m.Major), uint32(m.Minor)) != device {
			continue
		}
		p := mountPoint{at: m.Mountpoint, kind: m.FSType, source: m.Source}
		for o := range strings.SplitSeq(m.Options, ",") {
			p.flags |= mountFlags[o]
		}
		p.data = strings.Join(slices.DeleteFunc(strings.Split(m.VFSOptions, ","), func(o string) bool {
			return o == "rw" || o == "ro" || o == "seclabel"
		}), ",")
		if m.Root == "/" {
			whole = m.Mountpoint
		} else {
			p.flags, p.kind, p.data = unix.MS_BIND, "", ""
			if whole != "" {
				p.source = filepath.Join(whole, m.Root)
			}
		}
		found = append(found, p)
	}
	return found
}

var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
}

// maxHolders bounds how many processes an error names.
const maxHolders = 8

// holders names the processes that have the device itself open, or a file, a working directory or a root on the file
// system on it: "process 7 (postgres)".
func holders(proc string, device uint64) (who []string, err error) {
	processes, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir := filepath.Join(proc, p.Name())
		links := []string{filepath.Join(dir, "cwd"), filepath.Join(dir, "root"), filepath.Join(dir, "exe")}
		files, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) &&
			!errors.Is(err, unix.ESRCH) {
			return nil, err // else it has ended, or is not ours to look at
		}
		for _, f := range files {
			links = append(links, filepath.Join(dir, "fd", f.Name()))
		}
		for _, l := range links {
			var st unix.Stat_t
			if unix.Stat(l, &st) != nil {
				continue
			}
			block := st.Mode&unix.S_IFMT == unix.S_IFBLK
			if block && st.Rdev == device || !block && st.Dev == device {
				name := "unknown"
				if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
					name = foreign.Text(strings.TrimSpace(string(comm)), 64)
				}
				who = append(who, fmt.Sprintf("process %s (%s)", p.Name(), name))
				break
			}
		}
		if len(who) == maxHolders {
			return append(who, "and maybe more"), nil
		}
	}
	return who, nil
}
