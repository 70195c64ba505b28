package mirror

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// Bounds of what is mirrored, so that a file system of others ends.
const (
	mostFiles = 10000
	deepest   = 16
	small     = 64 << 10 // bytes of a file that may name a partition
	// seed is systemd-boot's random seed: secret, and of use once.
	seed = "loader/random-seed"
)

// wanted is what a mirror is to hold.
type wanted struct {
	fs       *bootfs.FS // the first boot file system, with nothing armed and the default alone bootable
	slot     bootloader.Slot
	manifest bootloader.Manifest
	backend  bootloader.Backend
	place    bootloader.Disk   // of the mirror
	files    map[string]string // by path in lower case, as they are spelled
	own      []byte            // MirrorFile
	names    map[string]string // GUIDs of partitions as the first names them, and as the mirror has to
}

// wanted looks at the first boot file system. What is armed or bootable beside the default is taken away in memory.
func (x *mirror) wanted() (*wanted, error) {
	over := predict.NewOverlay(x.m.Disk)
	layout, err := partition.Read(over)
	if err != nil {
		return nil, err
	}
	p, err := x.m.Labels.Find(layout, partition.EFI)
	if err != nil {
		return nil, err
	}
	w := &wanted{backend: x.m.Backend(), files: map[string]string{}, names: map[string]string{},
		own:   bootloader.EncodeMirror(x.first.GUID.String()),
		place: bootloader.Disk{Device: x.dev, Boot: x.at}}
	for _, as := range []func(string) string{strings.ToLower, strings.ToUpper} {
		w.names[as(x.first.GUID.String())] = as(x.at.GUID.String())
	}
	if w.fs, err = openVolume(partition.Section(over, p)); err != nil {
		return nil, err
	}
	loader, err := w.backend.Open(bootloader.Config{Disk: bootloader.Disk{Device: over, Boot: x.first}, FS: w.fs,
		Idle: true})
	if err != nil {
		return nil, err
	}
	st, err := loader.State()
	if err != nil {
		return nil, err
	}
	if st.Default == bootloader.None {
		return nil, errors.New("the machine has no default")
	}
	w.slot = st.Default
	if err := errors.Join(loader.Disarm(), loader.Withdraw(w.slot.Other())); err != nil {
		return nil, fmt.Errorf("take away what is not the default, in memory: %w", err)
	}
	if w.manifest, err = bootloader.ReadSlot(w.fs, w.slot); err != nil {
		return nil, fmt.Errorf("slot %v, the default: %w", w.slot, err)
	}
	return w, walk(w.fs, "", 0, func(path string) error {
		if w.foreign(path) {
			return nil
		}
		if len(w.files) == mostFiles {
			return fmt.Errorf("more than %d files are on the first one", mostFiles)
		}
		w.files[strings.ToLower(path)] = path
		return nil
	})
}

// check says why such a machine has no mirror that starts it.
func (w *wanted) check() error {
	if len(w.manifest.Images) > 0 {
		return fmt.Errorf("version %s has images (%s), which are in partitions of the first disk alone: %w",
			w.manifest.Version, w.manifest.Images[0].Name, ErrUnfit)
	}
	return nil
}

// foreign reports whether a file is not mirrored.
func (w *wanted) foreign(path string) bool {
	return within(path, w.slot.Other().Dir()) || strings.EqualFold(path, seed) ||
		strings.EqualFold(path, bootloader.MirrorFile)
}

func within(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.EqualFold(path[:len(dir)], dir)
}

// walk visits the files below a directory.
func walk(f *bootfs.FS, dir string, depth int, visit func(path string) error) error {
	if depth > deepest {
		return fmt.Errorf("%s: directories lie more than %d deep", dir, deepest)
	}
	entries, err := f.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := strings.TrimPrefix(dir+"/"+e.Name, "/")
		if e.Dir {
			err = walk(f, path, depth+1, visit)
		} else {
			err = visit(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// paths are the files that a part of the mirror is to have, in order.
func (w *wanted) paths(part func(path string) bool) (paths []string) {
	for _, path := range w.files {
		if part(path) {
			paths = append(paths, path)
		}
	}
	if part(bootloader.MirrorFile) {
		paths = append(paths, bootloader.MirrorFile)
	}
	slices.Sort(paths)
	return paths
}

// Parts of the mirror.

func everything(string) bool { return true }

func inLoaderDir(path string) bool { return within(path, bootloader.LoaderDir) }

func (w *wanted) inSlot(path string) bool { return within(path, w.slot.Dir()) }

func (w *wanted) inRest(path string) bool { return !w.inSlot(path) && !inLoaderDir(path) }

// open is what a file of the mirror is to hold.
func (w *wanted) open(path string) (io.Reader, int64, error) {
	if path == bootloader.MirrorFile {
		return bytes.NewReader(w.own), int64(len(w.own)), nil
	}
	f, err := w.fs.Open(path)
	if err != nil {
		return nil, 0, err
	}
	if f.Size() > small || w.inSlot(path) && w.manifest.Holds(path[len(w.slot.Dir())+1:]) {
		return f, f.Size(), nil
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of the first one: %w", path, err)
	}
	for is, to := range w.names {
		data = bytes.ReplaceAll(data, []byte(is), []byte(to))
	}
	return bytes.NewReader(data), int64(len(data)), nil
}

// written reports whether the loader writes a file by itself: then what it holds is the mirror's own matter.
func (w *wanted) written(path string) bool {
	b, is := w.backend.(bootloader.SelfWriter)
	return is && slices.ContainsFunc(b.Writes(), func(p string) bool { return strings.EqualFold(p, path) })
}

// verify reads the slot's files and holds them against its manifest: nothing is mirrored that is not what it should be.
func (w *wanted) verify() error {
	for _, file := range w.manifest.Files {
		f, err := w.fs.Open(w.slot.File(file.Name))
		if err != nil {
			return err
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return fmt.Errorf("read %s of the first one: %w", w.slot.File(file.Name), err)
		}
		if hex.EncodeToString(h.Sum(nil)) != file.SHA256 {
			return fmt.Errorf("%s of the first one is not what its manifest says; nothing is mirrored of it",
				w.slot.File(file.Name))
		}
	}
	return nil
}

// differs says how a part of the mirror differs from what it is to be; "" when it does not. Files above a size are held
// against their size alone, unless deep. An error is one of the first boot file system.
func (w *wanted) differs(dev device.Device, deep bool, part func(path string) bool) (string, error) {
	f, err := openVolume(dev)
	if err != nil {
		return err.Error(), nil
	}
	for _, path := range w.paths(part) {
		if differs, err := w.fileDiffers(f, path, deep); differs != "" || err != nil {
			return differs, err
		}
	}
	more := ""
	err = walk(f, "", 0, func(path string) error {
		_, known := w.files[strings.ToLower(path)]
		if part(path) && !known && !strings.EqualFold(path, seed) && path != bootloader.MirrorFile {
			more = path + " is there, and not on the first one"
		}
		return nil
	})
	if err != nil {
		return err.Error(), nil
	}
	return more, nil
}

func (w *wanted) fileDiffers(f *bootfs.FS, path string, deep bool) (string, error) {
	want, size, err := w.open(path)
	if err != nil {
		return "", err
	}
	has, err := f.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " is missing", nil
	case err != nil:
		return err.Error(), nil
	case has.Size() != size:
		return fmt.Sprintf("%s has %d bytes, and on the first one %d", path, has.Size(), size), nil
	case size > small && !deep, w.written(path):
		return "", nil
	}
	a, b := make([]byte, small), make([]byte, small)
	for left := size; left > 0; left -= small {
		n := min(left, small)
		if _, err := io.ReadFull(want, a[:n]); err != nil {
			return "", fmt.Errorf("read %s of the first one: %w", path, err)
		}
		if _, err := io.ReadFull(has, b[:n]); err != nil {
			return fmt.Sprintf("%s cannot be read: %v", path, err), nil
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return path + " holds something else than on the first one", nil
		}
	}
	return "", nil
}
