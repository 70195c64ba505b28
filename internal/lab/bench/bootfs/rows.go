package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// rows are the ways to write, the plain one first.
func rows(dir string) ([]row, error) {
	small, medium, large := random(32<<10), random(1<<20), random(8<<20)
	all := []row{
		{"pwrite of 1 MiB, fsync", 0, plain(medium)},
		{"the same again", 0, plain(medium)},
		{"bootfs, pieces of 1 MiB", most, ours(medium, false)},
		{"bootfs, pieces of 32 KiB", most, ours(small, false)},
		{"bootfs, on a device without write-back", most, ours(medium, true)},
		{"go-diskfs, pieces of 8 MiB, fsync", 0, diskfs(large)},
	}
	if _, err := exec.LookPath("mcopy"); err != nil {
		return nil, fmt.Errorf("%w (Debian's package mtools, or make deps)", err)
	}
	from := filepath.Join(dir, "payload")
	if err := os.WriteFile(from, bytes.Repeat(medium, payload/len(medium)), 0o600); err != nil {
		return nil, err
	}
	return append(all, row{"mtools mcopy, fsync", 0, mtools(from)}), nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func timed(f func() error) (time.Duration, error) {
	begin := time.Now()
	err := f()
	return time.Since(begin), err
}

// plain is the least that any file system can do: the payload goes into an image that was prepared in the same way.
func plain(chunk []byte) func(string) (time.Duration, error) {
	return func(path string) (time.Duration, error) {
		d, err := formatted(path)
		if err != nil {
			return 0, err
		}
		took, err := timed(func() error {
			for off := int64(0); off < payload; off += int64(len(chunk)) {
				if _, err := d.WriteAt(chunk, volume/2+off); err != nil {
					return err
				}
			}
			return d.Sync()
		})
		return took, errors.Join(err, d.Close())
	}
}

// zones are those of a machine.
var zones = []string{"EFI/pawl/A", "EFI/pawl/B"}

// formatted makes an image with the directories of the slots, as an install leaves it.
func formatted(path string) (*partition.Disk, error) {
	if err := empty(path); err != nil {
		return nil, err
	}
	d, err := partition.Open(path, partition.OpenOptions{})
	if err != nil {
		return nil, err
	}
	if err := bootfs.Format(d, bootfs.FormatOptions{Label: "EFI"}); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	v, err := bootfs.Open(d, bootfs.Options{Zones: zones})
	for _, dir := range zones {
		if err == nil {
			err = v.Mkdir(dir)
		}
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func empty(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(volume), f.Close())
}

// ours writes into slot B in pieces. Bare hides from bootfs that the device can begin to write back.
func ours(chunk []byte, bare bool) func(string) (time.Duration, error) {
	return func(path string) (time.Duration, error) {
		d, err := formatted(path)
		if err != nil {
			return 0, err
		}
		var dev device.Device = d
		if bare {
			dev = struct{ device.Device }{d}
		}
		took, err := timed(func() error { return stream(dev, chunk) })
		return took, errors.Join(err, d.Close())
	}
}

// stream opens the volume and writes the payload, until it is on the medium.
func stream(dev device.Device, chunk []byte) error {
	f, err := bootfs.Open(dev, bootfs.Options{Zones: zones})
	if err != nil {
		return err
	}
	w, err := f.Create("EFI/pawl/B/os.efi", payload)
	if err != nil {
		return err
	}
	defer w.Abort()
	for n := 0; n < payload; n += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return w.Close()
}

func diskfs(chunk []byte) func(string) (time.Duration, error) {
	return func(path string) (time.Duration, error) {
		if err := empty(path); err != nil {
			return 0, err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		if _, err := fat32.Create(file.New(f, false), volume, 0, 512, "EFI", false); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		return timed(func() error {
			v, err := fat32.Read(file.New(f, false), volume, 0, 512)
			if err != nil {
				return err
			}
			w, err := v.OpenFile("os.efi", os.O_CREATE|os.O_RDWR)
			if err != nil {
				return err
			}
			for n := 0; n < payload; n += len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return err
				}
			}
			return f.Sync()
		})
	}
}

func mtools(from string) func(string) (time.Duration, error) {
	return func(path string) (time.Duration, error) {
		d, err := formatted(path)
		if err != nil {
			return 0, err
		}
		took, err := timed(func() error {
			if out, err := exec.Command("mcopy", "-i", path, from, "::os.efi").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return d.Sync()
		})
		return took, errors.Join(err, d.Close())
	}
}
