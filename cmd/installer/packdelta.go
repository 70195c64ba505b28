package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// predecessors are the assets of the images that patches are made against, kept in files without a name until done is
// called, also after an error.
func (r recipe) predecessors(ctx context.Context, assets []pack.Asset) (old []pack.Old, done func() error, err error) {
	var files []io.Closer
	done = func() error { return closeAll(files) }
	if len(r.deltaFrom) == 0 {
		return nil, done, nil
	}
	wanted := map[string]bool{}
	for _, a := range assets {
		wanted[a.Name] = true
	}
	registries, err := image.MachineRegistries()
	if err != nil {
		return nil, done, err
	}
	for _, ref := range r.deltaFrom {
		o := image.Options{Arch: r.arch}
		registries.Fill(&o)
		img, err := image.Open(ctx, ref, o)
		if err != nil {
			return nil, done, fmt.Errorf("--delta-from: %w", err)
		}
		want := image.PullOptions{Want: func(a image.Asset) bool { return wanted[a.Name] }}
		err = img.Pull(ctx, want, func(a image.Asset, from io.Reader) error {
			f, err := nameless()
			if err != nil {
				return err
			}
			files = append(files, f)
			n, err := io.Copy(f, from)
			old = append(old, pack.Old{Asset: a.Name, ReaderAt: f, Size: n})
			return err
		})
		if err != nil {
			return nil, done, fmt.Errorf("--delta-from: %w", err)
		}
	}
	return old, done, nil
}

// nameless is a file that is gone when it is closed, however the program ends.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "pawl-pack-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// repacked puts the unpacked initramfs in the place of the initramfs, if that is asked for, and tells what of the
// inputs could serve upgrades better. The caller calls clean, also after an error.
func (r *recipe) repacked() (clean func() error, err error) {
	clean = func() error { return nil }
	if r.repack {
		dir, err := os.MkdirTemp("", "pawl-pack-")
		if err != nil {
			return clean, err
		}
		clean = func() error { return os.RemoveAll(dir) }
		if err := r.unpack(filepath.Join(dir, "initramfs")); err != nil {
			return clean, fmt.Errorf("--initramfs: %w", err)
		}
	}
	for _, input := range [][2]string{{"kernel", r.kernel}, {"initramfs", r.initramfs}, {"root", r.root}} {
		f, err := os.Open(input[1])
		if err != nil {
			continue // whoever packs it says so
		}
		text := pack.Advice(f)
		if err := f.Close(); err != nil {
			return clean, err
		}
		if text != "" && input[0] == "initramfs" {
			text += " (--repack stores it uncompressed)"
		}
		if text != "" {
			r.tell(fmt.Sprintf("--%s: %s", input[0], text))
		}
	}
	return clean, nil
}

// unpack makes a file of the initramfs without its compression.
func (r *recipe) unpack(path string) error {
	in, err := os.Open(r.initramfs)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	r.initramfs = path
	return errors.Join(pack.Initramfs(out, in), out.Close())
}
