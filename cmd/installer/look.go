package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// device is a disk that is open.
type device interface {
	partition.Device
	io.Closer
}

// held reports whether a disk is held in a file of another format than raw.
func held(path string) (bool, error) {
	format, err := disk.FormatOf(path)
	if err != nil {
		return false, fmt.Errorf("--disk: %w", err)
	}
	return format != disk.RawDisk, nil
}

// openHeld opens a disk in such a file to look at it.
func openHeld(path string) (*disk.Image, error) {
	large, err := disk.Options{SectorSize: 4096}.OpenImage(path)
	if err == nil {
		if _, err := partition.Read(large); err == nil {
			return large, nil
		}
		err = large.Close()
	}
	if err != nil && !errors.Is(err, disk.ErrFormat) { // one of 512 need not be whole sectors of 4096
		return nil, err
	}
	return disk.Options{}.OpenImage(path)
}

// openDisk opens a disk, or a file that holds one in any format; other formats than raw only to look.
func openDisk(path string, o partition.OpenOptions) (*partition.Disk, error) {
	if err := writable(path); err != nil {
		return nil, err
	}
	return partition.Open(path, o)
}

// writable refuses disks in files that can only be looked at.
func writable(path string) error {
	in, err := held(path)
	if err == nil && in {
		err = fmt.Errorf("%s: only raw disk images can be changed (qemu-img convert -O raw makes one): %w", path,
			disk.ErrReadOnly)
	}
	return err
}

// lookAt opens a disk to look at it.
func lookAt(path string) (device, error) {
	in, err := held(path)
	switch {
	case err != nil:
		return nil, err
	case in:
		return openHeld(path)
	}
	return partition.Open(path, partition.OpenOptions{ReadOnly: true})
}

// opened is a machine, and the file that holds its disk where that is not raw.
type opened struct {
	*upgrade.Machine
	disk string // its path
	file io.Closer
}

// Close releases both.
func (o opened) Close() error {
	err := o.Machine.Close()
	if o.file != nil {
		err = errors.Join(err, o.file.Close())
	}
	return err
}
