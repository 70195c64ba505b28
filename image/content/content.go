// Package content fills a partition of a new disk: with the bytes of a file, such as a file system that another program
// has made, or with a FAT32 that holds what a directory or a tar has.
//
// Start with Open. It looks at all that is to be copied, so that most of what cannot be is refused before anything is
// written. The same input makes the same bytes, whatever owners, modes and times it has.
//
// It makes no ext4, and nothing that FAT cannot hold: links and devices are refused, names that differ in case only
// too. `mke2fs -d DIRECTORY` makes an ext4 in a file, as an ordinary user.
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
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/partition/device"
)

// Content is what a partition is to hold.
type Content struct {
	path  string
	form  form
	bytes int64 // of a file; of all files in a directory or a tar
	files []file
}

type form string

const (
	raw  form = "the file"
	tree form = "a FAT32 of the directory"
	tarf form = "a FAT32 of the tar"
)

// file is one of a directory or a tar; a directory has no bytes.
type file struct {
	name string // with slashes
	size int64
	dir  bool
}

// Open looks at a directory, a tar (its name ends in .tar) or any other file, whose bytes are copied as they are.
func Open(name string) (*Content, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	c := &Content{path: name, form: raw, bytes: info.Size()}
	switch {
	case info.IsDir():
		c.form, c.bytes = tree, 0
		err = c.lookAtDirectory()
	case !info.Mode().IsRegular():
		err = errors.New("want a file, a tar or a directory")
	case strings.HasSuffix(name, ".tar"):
		c.form, c.bytes = tarf, 0
		err = c.eachInTar(func(f file, _ io.Reader) error { return c.add(f) })
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Size is the least size in bytes of a partition for the bytes of a file, or of all files.
func (c *Content) Size() int64 { return c.bytes }

// Raw reports whether the bytes of a file are copied as they are.
func (c *Content) Raw() bool { return c.form == raw }

// String says what it is, for people.
func (c *Content) String() string { return fmt.Sprintf("%s %s", c.form, c.path) }

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
	f, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		one := file{name: path.Clean(h.Name), size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir:
			one.dir, one.size = true, 0
		case tar.TypeXGlobalHeader:
			continue
		default:
			return fmt.Errorf("%q is no file, and FAT holds only files and directories", h.Name)
		}
		if err := visit(one, r); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

// Options say how a partition is filled. The zero value is a FAT32 without a label and of this time.
type Options struct {
	Label    string              // of the FAT32
	VolumeID uint32              // of the FAT32
	Time     time.Time           // of all files
	Tell     func(written int64) // may be nil
}

// Fill fills dev, which reads as zeros.
func (c *Content) Fill(ctx context.Context, dev device.Device, o Options) error {
	if err := c.Fits(dev.Size()); err != nil {
		return err
	}
	if o.Tell == nil {
		o.Tell = func(int64) {}
	}
	if c.form == raw {
		return c.copy(ctx, dev, o)
	}
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

// Fits says why a partition of so many bytes cannot hold it; nil when it may.
func (c *Content) Fits(size int64) error {
	if c.bytes > size {
		return fmt.Errorf("%s has %d bytes, and the partition %d (make the partition larger)", c.path, c.bytes, size)
	}
	return nil
}

// copy copies a file's bytes, but for its zeros.
func (c *Content) copy(ctx context.Context, dev device.Device, o Options) (err error) {
	from, err := disk.Options{ReadOnly: true}.Open(c.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if from.Size() != c.bytes {
		return fmt.Errorf("%s had %d bytes before, and has %d", c.path, c.bytes, from.Size())
	}
	return disk.Copy(ctx, dev, from, o.Tell)
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
