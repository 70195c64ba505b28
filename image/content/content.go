// Package content fills a partition of a new disk: with the bytes of a file, such as a file system that another program
// has made, or with a FAT32 or an ext4 that holds what a directory or a tar has, or nothing.
//
// Start with [FileSystem.Open]. It looks at all that is to be copied, so that most of what cannot be is refused before
// anything is written. The same input makes the same bytes.
//
// A FAT32 does not know owners, modes and times of its input. It holds no links and devices, and no two names that
// differ in case only. An ext4 has all that a tar says; of a directory it has modes and links, while all is root's and
// of one time, for whoever checks out a directory owns it.
package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/ext4"
	"github.com/pawl-os/pawl/partition/device"
)

// Content is what a partition is to hold.
type Content struct {
	path   string
	form   form
	system FileSystem // of all but a file
	bytes  int64      // of a file; of all files in a directory or a tar
	files  []file     // for a FAT32
	nodes  []ext4.Node
}

// FileSystem is what a directory or a tar becomes.
type FileSystem string

// The file systems that are made.
const (
	FAT32 FileSystem = "fat32"
	Ext4  FileSystem = "ext4"
)

// FileSystems are their names.
func FileSystems() []string { return []string{string(Ext4), string(FAT32)} }

type form string

const (
	raw   form = "the file"
	tree  form = "the directory"
	tarf  form = "the tar"
	empty form = "nothing"
)

// Open is [FileSystem.Open] of [FAT32].
func Open(name string) (*Content, error) { return FAT32.Open(name) }

// Empty is a file system with nothing in it.
func (s FileSystem) Empty() *Content { return &Content{form: empty, system: s} }

// Open looks at a directory or a tar (its name ends in .tar), which becomes that file system, or at any other file,
// whose bytes are copied as they are.
func (s FileSystem) Open(name string) (*Content, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	c := &Content{path: name, form: raw, bytes: info.Size()}
	switch {
	case info.IsDir():
		c.form, c.system, c.bytes = tree, s, 0
	case !info.Mode().IsRegular():
		err = errors.New("want a file, a tar or a directory")
	case strings.HasSuffix(name, ".tar"):
		c.form, c.system, c.bytes = tarf, s, 0
	}
	switch {
	case err != nil || c.form == raw:
	case s == Ext4:
		err = c.lookForExt4()
	case c.form == tree:
		err = c.lookAtDirectory()
	default:
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
func (c *Content) String() string {
	switch {
	case c.form == empty:
		return "an empty " + string(c.system)
	case c.system == FAT32:
		return fmt.Sprintf("a FAT32 of %s %s", c.form, c.path)
	case c.system == Ext4:
		return fmt.Sprintf("an ext4 of %s %s", c.form, c.path)
	}
	return fmt.Sprintf("%s %s", c.form, c.path)
}

// Options say how a partition is filled. The zero value is a file system without a label and of this time.
type Options struct {
	Label    string              // of the file system
	VolumeID uint32              // of a FAT32
	UUID     uuid.UUID           // of an ext4
	Time     time.Time           // of all files, but for those of a tar in an ext4
	Tell     func(written int64) // may be nil
}

// Fill fills dev. What dev held means nothing, and zeros that it has already are not written.
func (c *Content) Fill(ctx context.Context, dev device.Device, o Options) error {
	if err := c.Fits(dev.Size()); err != nil {
		return err
	}
	if o.Tell == nil {
		o.Tell = func(int64) {}
	}
	switch {
	case c.form == raw:
		return c.copy(ctx, dev, o)
	case c.system == Ext4:
		return c.fillExt4(ctx, sparing{dev}, o)
	}
	return c.fillFAT(ctx, dev, o)
}

// Fits says why a partition of so many bytes cannot hold it; nil when it may.
func (c *Content) Fits(size int64) error {
	if c.system == Ext4 {
		_, err := ext4.Plan(size, c.nodes, ext4.Options{})
		return err
	}
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
	if err := clearAll(ctx, dev, c.bytes); err != nil {
		return err
	}
	return disk.Copy(ctx, dev, from, o.Tell)
}
