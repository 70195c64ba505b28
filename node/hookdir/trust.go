package hookdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrUntrusted is returned for an executable that others than root and the service's own user could have put there. Do:
// what the error says.
var ErrUntrusted = errors.New("others could change what would be run")

// maxLinks bounds symbolic links on one path, as the kernel does.
const maxLinks = 40

// trusted walks an absolute path as the kernel does, links included, and refuses one on which others decide what is
// found at its end: each part belongs to root or to the service's own user, and nobody else may write it. A directory
// above those that the operator named may be one in which each deletes only his own (sticky), such as /tmp; own says
// how many of the last parts may not.
func trusted(path string, own int) error {
	done, rest, links := "/", strings.TrimPrefix(filepath.Clean(path), "/"), 0
	if err := ours("/", true); err != nil {
		return err
	}
	for rest != "" {
		part, after, _ := strings.Cut(rest, "/")
		if part == ".." {
			done, rest = filepath.Dir(done), after
			continue
		}
		at := filepath.Join(done, part)
		sticky := strings.Count(rest, "/") >= own
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := ours(at, sticky); err != nil {
				return err
			}
			done, rest = at, after
			continue
		}
		if err := owned(at, info); err != nil {
			return err
		}
		to, err := os.Readlink(at)
		if err != nil {
			return err
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: %w", path, syscall.ELOOP)
		}
		if filepath.IsAbs(to) {
			done = "/"
		}
		rest = strings.Trim(to+"/"+after, "/")
	}
	return nil
}

// ours refuses what others own or may write.
func ours(path string, sticky bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := owned(path, info); err != nil {
		return err
	}
	if info.Mode()&0o022 != 0 && !(sticky && info.IsDir() && info.Mode()&fs.ModeSticky != 0) {
		return fmt.Errorf("%s may be changed by others than its owner (mode %v); take that away with chmod go-w %s: %w",
			path, info.Mode(), path, ErrUntrusted)
	}
	return nil
}

func owned(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: whose it is cannot be found out: %w", path, ErrUntrusted)
	}
	if own := os.Geteuid(); st.Uid != 0 && int(st.Uid) != own {
		return fmt.Errorf("%s belongs to user %d, and not to root or to the service's own user %d; use chown -h %d "+
			"%s: %w", path, st.Uid, own, own, path, ErrUntrusted)
	}
	return nil
}
