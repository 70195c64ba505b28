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

	"github.com/pawl-os/pawl/image/ext4"
	"github.com/pawl-os/pawl/partition/device"
)

// lookForExt4 lists a directory or a tar as nodes.
func (c *Content) lookForExt4() error {
	add := func(n ext4.Node) {
		if n.Mode.IsRegular() && n.Same == "" {
			c.bytes += n.Size
		}
		c.nodes = append(c.nodes, n)
	}
	if c.form == tree {
		return c.nodesOfDirectory(add)
	}
	return eachHeader(c.path, func(h *tar.Header, _ io.Reader) error {
		n, err := nodeOf(h)
		if err == nil {
			add(n)
		}
		return err
	})
}

// nodesOfDirectory lists it in the order of its names. What is of this machine, owners and times, does not count.
func (c *Content) nodesOfDirectory(add func(ext4.Node)) error {
	return filepath.WalkDir(c.path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.path, name)
		if err != nil {
			return err
		}
		look := os.Lstat
		if rel == "." { // a link to the directory is that directory
			look = os.Stat
		}
		info, err := look(name)
		if err != nil {
			return err
		}
		n := ext4.Node{Path: filepath.ToSlash(rel), Mode: info.Mode()}
		switch info.Mode().Type() {
		case 0:
			n.Size = info.Size()
		case fs.ModeDir:
		case fs.ModeSymlink:
			n.Mode = fs.ModeSymlink | 0o777
			n.Target, err = os.Readlink(name)
		default:
			err = fmt.Errorf("%s is neither file, directory nor link; a tar may have devices", rel)
		}
		if err == nil {
			add(n)
		}
		return err
	})
}

// eachHeader visits what a tar has, in its order.
func eachHeader(name string, visit func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		if err := visit(h, r); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

// attribute is where a tar has extended attributes.
const attribute = "SCHILY.xattr."

// nodeOf is an entry of a tar.
func nodeOf(h *tar.Header) (ext4.Node, error) {
	n := ext4.Node{Path: path.Clean(h.Name), Mode: h.FileInfo().Mode(), Time: h.ModTime,
		UID: uint32(h.Uid), GID: uint32(h.Gid)}
	if int64(h.Uid) != int64(n.UID) || int64(h.Gid) != int64(n.GID) {
		return n, fmt.Errorf("owner %d:%d: want numbers of 32 bits", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		n.Size = h.Size
	case tar.TypeLink:
		n.Same = path.Clean(h.Linkname)
	case tar.TypeSymlink:
		n.Target = h.Linkname
	case tar.TypeBlock, tar.TypeChar:
		if h.Devmajor < 0 || h.Devmajor > 1<<12 || h.Devminor < 0 || h.Devminor > 1<<20 {
			return n, fmt.Errorf("device %d:%d cannot be", h.Devmajor, h.Devminor)
		}
		n.Major, n.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeDir, tar.TypeFifo:
	default:
		return n, fmt.Errorf("an entry of type %q, which an ext4 cannot hold", h.Typeflag)
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, attribute); ok {
			if n.Attributes == nil {
				n.Attributes = map[string]string{}
			}
			n.Attributes[name] = value
		}
	}
	return n, nil
}

// fillExt4 makes the file system, and then copies the files.
func (c *Content) fillExt4(ctx context.Context, dev device.Device, o Options) error {
	if c.form != tarf {
		for i := range c.nodes {
			c.nodes[i].Time = o.Time
		}
	}
	l, err := ext4.Plan(dev.Size(), c.nodes, ext4.Options{UUID: o.UUID, Label: o.Label, Time: o.Time})
	if err != nil {
		return err
	}
	if err := l.Format(dev); err != nil {
		return err
	}
	done := int64(0)
	write := func(name string, size int64, from io.Reader) error {
		err := l.Write(dev, name, until{ctx, from})
		done += size
		o.Tell(done)
		return err
	}
	if c.form == tarf {
		return eachHeader(c.path, func(h *tar.Header, r io.Reader) error {
			if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
				return ctx.Err()
			}
			return write(path.Clean(h.Name), h.Size, r)
		})
	}
	for _, n := range c.nodes {
		if !n.Mode.IsRegular() {
			continue
		}
		if err := c.writeOne(n, write); err != nil {
			return err
		}
	}
	return nil
}

func (c *Content) writeOne(n ext4.Node, write func(string, int64, io.Reader) error) (err error) {
	in, err := os.Open(filepath.Join(c.path, filepath.FromSlash(n.Path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return write(n.Path, n.Size, in)
}

// until ends when its context does.
type until struct {
	ctx context.Context
	io.Reader
}

func (c until) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
