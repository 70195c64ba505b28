package deaths

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
)

// armedDisk is the disk of a machine that is off; its slot B is armed.
type armedDisk struct {
	path   string
	loader string
}

// kernel is the file that is loaded first.
func (d *armedDisk) kernel() string {
	if d.loader == loaders.SystemdBoot {
		return bootloader.B.File(bootloader.UKIFile)
	}
	return bootloader.B.File(bootloader.KernelFile)
}

func (d *armedDisk) remove() error {
	return d.onBootFS(func(boot *bootfs.FS) error { return boot.Remove(d.kernel()) })
}

func (d *armedDisk) truncate() error {
	return d.replace(d.kernel(), func(b []byte) ([]byte, error) { return b[:len(b)/2], nil })
}

func (d *armedDisk) corrupt() error {
	return d.replace(d.kernel(), func(b []byte) ([]byte, error) { spoil(b); return b, nil })
}

// corruptInitramfs spoils all of it, where it is a file and where it is a part of the UKI.
func (d *armedDisk) corruptInitramfs() error {
	if d.loader != loaders.SystemdBoot {
		return d.replace(bootloader.B.File(bootloader.InitrdFile), func(b []byte) ([]byte, error) {
			spoil(b)
			return b,
				nil
		})
	}
	return d.replace(d.kernel(), func(b []byte) ([]byte, error) {
		img, err := uki.Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err
		}
		s, err := img.Section(uki.Initrd)
		if err != nil {
			return nil, err
		}
		_, from, n := s.Data.Outer()
		spoil(b[from : from+n])
		return b, nil
	})
}

func spoil(b []byte) { _, _ = rand.NewChaCha8([32]byte{}).Read(b) }

func (d *armedDisk) replace(path string, change func([]byte) ([]byte, error)) error {
	return d.onBootFS(func(boot *bootfs.FS) error {
		f, err := boot.Open(path)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		if data, err = change(data); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := boot.Remove(path); err != nil {
			return err
		}
		return boot.WriteFile(path, data)
	})
}

func (d *armedDisk) onBootFS(change func(*bootfs.FS) error) error {
	return d.onPartition("EFI", func(p *partition.Opened) error {
		boot, err := bootfs.Open(p, bootfs.Options{Zones: []string{bootloader.A.Dir(), bootloader.B.Dir()}})
		if err != nil {
			return err
		}
		return change(boot)
	})
}

func (d *armedDisk) destroyMETA() error {
	return d.onPartition("META", func(p *partition.Opened) error {
		if _, err := p.WriteAt(make([]byte, p.Size()), 0); err != nil {
			return err
		}
		return p.Sync()
	})
}

func (d *armedDisk) onPartition(label string, change func(*partition.Opened) error) error {
	disk, err := partition.Open(d.path, partition.OpenOptions{})
	if err != nil {
		return err
	}
	p, err := disk.Partition(label)
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	return errors.Join(change(p), p.Close(), disk.Close())
}
