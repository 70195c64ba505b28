package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/internal/mounttable"
)

// unused refuses a device that is mounted, or one of whose partitions is, in this or any mount name space that a
// process shows; that is swap space; that a volume (LUKS, LVM, RAID) sits on; or an image file that a loop device uses.
func (s system) unused(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if info.Mode().IsRegular() {
		return s.noLoop(path, st)
	}
	// All names under which the device may be in use.
	names := map[string]string{key(uint64(st.Rdev)): path}
	dirs := []string{s.devDir(uint64(st.Rdev))}
	parts, err := s.children(uint64(st.Rdev))
	if err != nil {
		return fmt.Errorf("ask the kernel for its partitions: %w", err)
	}
	for _, dir := range parts {
		number, err := os.ReadFile(filepath.Join(dir, "dev"))
		if err != nil {
			return err
		}
		names[strings.TrimSpace(string(number))] = filepath.Join(s.dev, filepath.Base(dir))
		dirs = append(dirs, dir)
	}
	if err := s.notMounted(names); err != nil {
		return err
	}
	for _, dir := range dirs {
		holders, err := os.ReadDir(filepath.Join(dir, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("ask the kernel what uses %s: %w", filepath.Base(dir), err)
		}
		for _, h := range holders {
			return fmt.Errorf("%s is used by %s; stop that first: %w", filepath.Base(dir), h.Name(), ErrBusy)
		}
	}
	return s.noSwap(names)
}

func key(number uint64) string { return fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)) }

// notMounted walks the mount tables of all processes that can be read, one for each mount name space.
func (s system) notMounted(names map[string]string) error {
	processes, err := os.ReadDir(s.proc)
	if err != nil {
		return fmt.Errorf("read the mount tables: %w", err)
	}
	tables := []string{filepath.Join(s.proc, "self/mountinfo")} // our own first, so that the plainer message wins
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err == nil {
			tables = append(tables, filepath.Join(s.proc, p.Name(), "mountinfo"))
		}
	}
	slices.SortStableFunc(tables[1:], func(a, b string) int { return pid(a) - pid(b) })
	self, _ := os.Readlink(filepath.Join(s.proc, "self/ns/mnt"))
	seen := map[string]bool{}
	for i, t := range tables {
		space, err := os.Readlink(filepath.Join(filepath.Dir(t), "ns/mnt"))
		if err == nil && seen[space] {
			continue
		}
		mounts, err := mounttable.Read(t)
		if err != nil {
			if i > 0 && hidden(err) {
				continue
			}
			return fmt.Errorf("read the mount table: %w", err)
		}
		seen[space] = true
		for _, m := range mounts {
			on := mountedOn(m)
			at := slices.IndexFunc(on, func(device string) bool { return names[device] != "" })
			switch {
			case at < 0:
			case space == self || i == 0:
				return fmt.Errorf("%s is mounted at %s; unmount it: %w", names[on[at]], m.Mountpoint, ErrBusy)
			default:
				return fmt.Errorf("%s is mounted at %s in another mount name space, that of process %d (%s); unmount "+
					"it there or end the process: %w",
					names[on[at]], m.Mountpoint, pid(t), s.command(t), ErrBusy)
			}
		}
	}
	return nil
}

// hidden reports whether a process has ended, has no mount table any more, or is not ours to look at. Whatever else is
// in the way, too many open files say, hides a mount.
func hidden(err error) bool {
	for _, cause := range []error{fs.ErrNotExist, fs.ErrPermission, unix.ESRCH, unix.EINVAL} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

func pid(table string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(table)))
	return n
}

func (s system) command(table string) string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(table), "comm"))
	if err != nil {
		return "unknown"
	}
	return foreign.Text(strings.TrimSpace(string(b)), 64)
}

// mountedOn are the devices of a mount. Some file systems (btrfs) show a number of their own; their source is a device
// then.
func mountedOn(m *mountinfo.Info) []string {
	on := []string{fmt.Sprintf("%d:%d", m.Major, m.Minor)}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/") && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		on = append(on, key(uint64(st.Rdev)))
	}
	return on
}

// unescape turns \040 and the like into the characters that they stand for.
func unescape(s string) string {
	plain, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		return s
	}
	return plain
}

func (s system) noSwap(names map[string]string) error {
	data, err := os.ReadFile(filepath.Join(s.proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without swap
	}
	if err != nil {
		return fmt.Errorf("read what is used as swap space: %w", err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		var st unix.Stat_t
		if len(fields) == 0 || unix.Stat(unescape(fields[0]), &st) != nil {
			continue
		}
		if node, ok := names[key(uint64(st.Rdev))]; ok && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return fmt.Errorf("%s is used as swap space; turn that off with swapoff: %w", node, ErrBusy)
		}
	}
	return nil
}

// noLoop refuses an image file that a loop device stands for: what is written to the file would not be seen there.
func (s system) noLoop(path string, st *syscall.Stat_t) error {
	disks, err := os.ReadDir(filepath.Join(s.sys, "block"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for loop devices: %w", err)
	}
	for _, d := range disks {
		b := filepath.Join(s.sys, "block", d.Name(), "loop/backing_file")
		file, err := os.ReadFile(b)
		if err != nil && !hidden(err) && !errors.Is(err, unix.ENXIO) { // most are no loop devices, or have no file
			return fmt.Errorf("look for loop devices: %w", err)
		}
		if err != nil {
			continue
		}
		var other unix.Stat_t
		if unix.Stat(strings.TrimSuffix(string(file), "\n"), &other) == nil && other.Ino == st.Ino &&
			uint64(other.Dev) == uint64(st.Dev) {
			name := filepath.Base(filepath.Dir(filepath.Dir(b)))
			return fmt.Errorf("%s is attached to %s; detach it, or use that device: %w", path,
				filepath.Join(s.dev, name), ErrBusy)
		}
	}
	return nil
}
