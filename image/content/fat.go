package content

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/device"
)

// file is one of a directory or a tar; a directory has no bytes.
type file struct {
	name string // with slashes
	size int64
	dir  bool
}

// add takes one file of a directory or a tar.
func (c *Content) add(f file) error {
	switch {
	case f.name == ".":
		return nil
	case !fs.ValidPath(f.name):
		return fmt.Errorf("%q: want a path that stays inside", f.name)
	case f.size > 1<<32-1:
		return fmt.Errorf("%s has %d bytes: %w", f.name, f.size, bootfs.ErrTooLarge)
	}
	c.bytes += f.size
	c.files = append(c.files, f)
	return nil
}

// lookAtDirectory lists it in the order of its names.
func (c *Content) lookAtDirectory() error {
	return filepath.WalkDir(c.path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(name) // a link to a file is that file
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.path, name)
		if err != nil {
			return err
		}
		f := file{name: filepath.ToSlash(rel), dir: d.IsDir()}
		switch {
		case info.IsDir() && !d.IsDir():
			return fmt.Errorf("%s is a link to a directory, which FAT cannot hold", rel)
		case info.Mode().IsRegular():
			f.size = info.Size()
		case !info.IsDir():
			return fmt.Errorf("%s is no file, and FAT holds only files and directories", rel)
		}
		return c.add(f)
	})
}

// eachInTar visits what a tar has, in its order.
func (c *Content) eachInTar(visit func(file, io.Reader) error) error {
	return eachHeader(c.path, func(h *tar.Header, r io.Reader) error {
		one := file{name: path.Clean(h.Name), size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir:
			one.dir, one.size = true, 0
		default:
			return errors.New("it is no file, and FAT holds only files and directories")
		}
		return visit(one, r)
	})
}

// fillFAT makes the file system, and then copies the files.
func (c *Content) fillFAT(ctx context.Context, dev device.Device, o Options) error {
	err := bootfs.Format(dev, bootfs.FormatOptions{Label: o.Label, VolumeID: o.VolumeID, Time: o.Time})
	if err != nil {
		return err
	}
	boot, err := bootfs.Open(dev, bootfs.Options{Now: func() time.Time { return o.Time }})
	if err != nil {
		return err
	}
	w := &writer{ctx: ctx, fs: boot, tell: o.Tell}
	if c.form == tarf {
		return c.eachInTar(w.write)
	}
	for _, f := range c.files {
		if err := w.from(filepath.Join(c.path, filepath.FromSlash(f.name)), f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// writer writes files into a FAT32.
type writer struct {
	ctx  context.Context
	fs   *bootfs.FS
	tell func(int64)
	done int64
}

// from writes a file, or makes a directory, as it is on this machine.
func (w *writer) from(name string, f file) (err error) {
	if f.dir {
		return w.write(f, nil)
	}
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return w.write(f, in)
}

func (w *writer) write(f file, from io.Reader) error {
	if err := w.ctx.Err(); err != nil || f.name == "." {
		return err
	}
	if f.dir {
		return w.fs.Mkdir(f.name)
	}
	if err := w.fs.Mkdir(path.Dir(f.name)); err != nil {
		return err
	}
	out, err := w.fs.Create(f.name, f.size)
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := out.ReadFrom(from); err != nil {
		return err
	}
	w.done += f.size
	w.tell(w.done)
	return out.Close()
}
