package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/pack"
)

// row is one payload in one packing.
type row struct {
	payload     string // "binaries" or "random"
	compression pack.Compression
	ref         string  // in the layout
	blob        string  // the layer's file
	url         string  // of the layer
	bound       float64 // of the pull without the read-back, against its limit
	boundBack   float64 // with it
}

func (r *row) name() string { return r.payload + " " + r.compression.String() }

func rows() []*row {
	return []*row{
		{payload: "binaries", compression: pack.Gzip, bound: 1.10, boundBack: 1.25},
		{payload: "binaries", compression: pack.Zstd, bound: 1.35, boundBack: 1.60},
		{payload: "random", compression: pack.Gzip, bound: 1.10, boundBack: 1.25},
		{payload: "random", compression: pack.Zstd, bound: 1.35, boundBack: 1.60},
		{payload: "random", compression: pack.None, bound: 1.40, boundBack: 1.70},
	}
}

// payload makes a file of size bytes: the start of all programs and libraries of this system, or random bytes.
func payload(path, kind string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if kind == "random" {
		_, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
		return err
	}
	left := size
	for _, root := range []string{"/usr/local/go/bin", "/usr/local/go/pkg", "/usr/bin", "/usr/lib"} {
		_ = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
			if err != nil || left == 0 || !e.Type().IsRegular() {
				return nil // unreadable ones are left out
			}
			in, err := os.Open(name)
			if err != nil {
				return nil
			}
			defer in.Close()
			magic := make([]byte, 4)
			if _, err := io.ReadFull(in, magic); err != nil || string(magic) != "\x7fELF" {
				return nil
			}
			n, err := io.Copy(f, io.LimitReader(in, left))
			left -= n
			return err
		})
	}
	if left > 0 {
		return fmt.Errorf("the programs of this system have %d bytes, %d are wanted", size-left, size)
	}
	return nil
}

// packAll makes one image a row in the layout in dir, and a tiny one with the tag "base".
func packAll(dir, tmp string, rows []*row, size int64) error {
	ctx := context.Background()
	l, err := pack.Create(dir)
	if err != nil {
		return err
	}
	add := func(tag string, c pack.Compression, assets ...pack.Asset) error {
		b, err := l.Add(ctx, pack.Image{Version: tag, Arch: "amd64", Compression: c, Assets: assets})
		if err != nil {
			return err
		}
		return l.Tag(tag, b)
	}
	loader := pack.Data(pack.LoaderAsset, loadertest.Loader("amd64"))
	base, err := baseUKI()
	if err != nil {
		return err
	}
	if err := add("base", pack.Zstd, base, loader); err != nil {
		return err
	}
	for _, r := range rows {
		file := filepath.Join(tmp, r.payload)
		if _, err := os.Stat(file); err != nil {
			if err := payload(file, r.payload, size); err != nil {
				return err
			}
		}
		a, err := pack.File(pack.UKIAsset, file)
		if err != nil {
			return err
		}
		tag := r.payload + "-" + r.compression.String()
		if err := add(tag, r.compression, a); err != nil {
			return err
		}
		if r.blob, err = firstLayer(dir, tag); err != nil {
			return err
		}
		r.ref = tag
	}
	return nil
}
