package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
)

// What an installing medium has in its boot file system, and how a volume with a configuration is called.
const (
	mediumImage  = "pawl/image.tar"    // the installer image, as an oci-archive
	mediumConfig = "pawl/install.yaml" // what is known of the install; empty: it is asked for
	configVolume = "PAWL-CONFIG"
	configFile   = "install.yaml"
)

// sight is a disk that is only looked at, in sectors of 512 bytes whatever the drive has: a CD has 2048, and what is on
// it was made for a disk.
type sight struct {
	io.ReaderAt
	size int64
}

func (s sight) Size() int64                        { return s.size }
func (s sight) SectorSize() int                    { return 512 }
func (s sight) Sync() error                        { return nil }
func (s sight) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

// medium is what an installing system was started from.
type medium struct {
	path string
	file *os.File
	boot *bootfs.FS
}

func (m *medium) Close() error { return m.file.Close() }

// seen opens a disk, a stick or a CD to look at it.
func seen(path string) (*os.File, sight, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, sight{}, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, sight{}, errors.Join(err, f.Close())
	}
	return f, sight{f, size &^ 511}, nil
}

// openMedium opens a medium that has something to install from, or says what it lacks.
func openMedium(path string, l partition.Labels) (*medium, error) {
	f, dev, err := seen(path)
	if err != nil {
		return nil, err
	}
	m := &medium{path: path, file: f}
	if m.boot, err = bootOf(dev, l.Of(partition.EFI)); err == nil && !m.has(mediumConfig) && !m.has(mediumImage) {
		err = fmt.Errorf("it has neither %s nor %s", mediumConfig, mediumImage)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return m, nil
}

// bootOf opens the FAT32 in the partition of a label.
func bootOf(dev partition.Device, label string) (*bootfs.FS, error) {
	table, err := partition.Read(dev)
	if err != nil {
		return nil, err
	}
	p, err := table.Find(label)
	if err != nil {
		return nil, err
	}
	return bootfs.Open(partition.Section(dev, p), bootfs.Options{Zones: bootloader.Zones()})
}

func (m *medium) has(path string) bool {
	_, err := m.boot.Stat(path)
	return err == nil
}

// archive opens a file of the medium for package image.
func (m *medium) archive(path string) (image.File, error) {
	f, err := m.boot.Open(path)
	if err != nil {
		return nil, err
	}
	return struct {
		*bootfs.File
		io.Closer
	}{f, io.NopCloser(nil)}, nil
}

// drives are all that might be a medium: what has a driver and is in sysfs, CDs too.
func drives(sys, dev string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return nil, fmt.Errorf("look for media: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(sys, "block", e.Name(), "device")); err == nil {
			paths = append(paths, filepath.Join(dev, strings.ReplaceAll(e.Name(), "!", "/")))
		}
	}
	return paths, nil
}

// findMedium is the one drive that has something to install from.
func findMedium(paths []string, l partition.Labels) (*medium, error) {
	var found *medium
	lacks := []error{errors.New("no drive has something to install, of these")} // a line each
	for _, path := range paths {
		m, err := openMedium(path, l)
		switch {
		case err != nil:
			lacks = append(lacks, fmt.Errorf("  %v", err))
		case found != nil:
			return nil, errors.Join(fmt.Errorf("%s and %s both have something to install: say which with --medium",
				found.path, path), m.Close(), found.Close())
		default:
			found = m
		}
	}
	if found == nil {
		return nil, errors.Join(lacks...)
	}
	return found, nil
}

// volumeConfig is the configuration on a volume or partition of that name, and where that was; nil where there is none.
func volumeConfig(paths []string) (name string, data []byte, err error) {
	for _, path := range paths {
		f, dev, err := seen(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOMEDIUM) || errors.Is(err, syscall.ENXIO) {
			continue // a drive without a medium
		}
		if err != nil {
			return "", nil, fmt.Errorf("look for volume %s: %w", configVolume, err)
		}
		data, err := configOn(dev)
		switch err := errors.Join(err, f.Close()); {
		case err != nil:
			return "", nil, fmt.Errorf("%s of volume %s on %s: %w", configFile, configVolume, path, err)
		case data != nil:
			return fmt.Sprintf("%s of volume %s on %s", configFile, configVolume, path), data, nil
		}
	}
	return "", nil, nil
}

func configOn(dev partition.Device) ([]byte, error) {
	for _, c := range partition.Contents(dev) {
		if c.Volume != configVolume && c.Label != configVolume {
			continue
		}
		part := dev
		if c.Number > 0 {
			table, err := partition.Read(dev)
			if err != nil {
				return nil, err // of a DOS table, whose partitions are not opened here
			}
			p, err := table.Find(c.Label)
			if err != nil {
				return nil, err
			}
			part = partition.Section(dev, p)
		}
		files, err := bootfs.Open(part, bootfs.Options{})
		if err != nil {
			return nil, err
		}
		return readSmall(files, configFile)
	}
	return nil, nil
}

// readSmall reads a file that is no larger than a profile may be.
func readSmall(files *bootfs.FS, path string) ([]byte, error) {
	info, err := files.Stat(path)
	if err == nil && info.Size > maxProfile {
		err = fmt.Errorf("%s has more than %d bytes: it is no configuration", path, maxProfile)
	}
	if err != nil {
		return nil, err
	}
	return files.ReadFile(path)
}
