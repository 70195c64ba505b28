package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// machine are the flags that name the machine. Without any it is the one that this runs on.
type machine struct {
	disk, efivars, osRelease string
	labels                   labels
}

func (m *machine) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.disk, "disk", "",
		"the disk that the machine boots from: a block device, or a file that holds a disk image (default: the one "+
			"that this machine booted from)")
	c.Flags().StringVar(&m.efivars, "efivars", efivar.Dir,
		"the machine's firmware variables: a mounted efivarfs, or a directory of such files")
	m.labels.flag(c)
	c.Flags().StringVar(&m.osRelease, "os-release", "",
		"file that states the version of the running system; in a container, the host's (default /etc/os-release)")
}

// labels is the flag that says how partitions are labelled.
type labels []string

func (l *labels) flag(c *cobra.Command) {
	c.Flags().StringArrayVar((*[]string)(l), "label", nil,
		"label of a partition that is not called as its role is, ROLE=LABEL, such as META=PAWL-META; the roles are "+
			strings.Trim(fmt.Sprint(partition.Roles()), "[]")+"; may be given more than once")
}

func (l labels) parse() (partition.Labels, error) {
	parsed, err := partition.ParseLabels(l...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--label: %w", err)}
	}
	return parsed, nil
}

func (m *machine) open(readOnly bool) (opened, error) {
	disk, o, err := m.options()
	if err != nil {
		return opened{}, err
	}
	if o.ReadOnly = readOnly; !readOnly {
		if err := writable(disk); err != nil {
			return opened{}, err
		}
	} else if in, err := held(disk); err != nil || in {
		if err != nil {
			return opened{}, err
		}
		file, err := openHeld(disk)
		if err != nil {
			return opened{}, err
		}
		on, err := upgrade.OpenDevice(file, o)
		if err != nil {
			return opened{}, errors.Join(fmt.Errorf("%s: %w", disk, err), file.Close())
		}
		return opened{on, disk, file}, nil
	}
	on, err := upgrade.Open(disk, o)
	return opened{Machine: on, disk: disk}, err
}

// options are the disk and how it is opened.
func (m *machine) options() (disk string, o upgrade.OpenOptions, err error) {
	o.Loaders, o.Log = loaders.All(), logger()
	if o.Labels, err = m.labels.parse(); err != nil {
		return "", o, err
	}
	if o.Vars, err = variables(m.efivars); err != nil {
		return "", o, err
	}
	if o.Release = m.osRelease; o.Release != "" {
		if err := statesVersion(o.Release); err != nil {
			return "", o, err
		}
	}
	disk, err = m.path(o.Vars)
	return disk, o, err
}

// path is the disk that was named, or else the one that this machine booted from.
func (m *machine) path(vars efivar.Store) (string, error) {
	if m.disk != "" {
		return m.disk, exists(m.disk)
	}
	found, err := upgrade.Disk(vars)
	if errors.Is(err, bootloader.ErrMirror) {
		return "", err
	}
	if err != nil {
		return "", usageError{fmt.Errorf("%w; name it with --disk", err)}
	}
	return found, nil
}

// exists refuses a disk that is not there.
func exists(disk string) error {
	if _, err := os.Stat(disk); err != nil {
		return usageError{fmt.Errorf("--disk: %w", err)}
	}
	return nil
}

// variables opens the firmware variables in dir.
func variables(dir string) (efivar.Store, error) {
	if dir == efivar.Dir {
		return efivar.Open(dir), nil // also where there is none: what needs variables says so
	}
	vars, err := efivar.OpenDir(dir)
	if err != nil {
		return nil, usageError{fmt.Errorf("--efivars: %w", err)}
	}
	return vars, nil
}

// statesVersion refuses an os-release file that does not say which version it is of.
func statesVersion(path string) error {
	data, err := os.ReadFile(path)
	if err == nil && uki.ParseRelease(string(data))["VERSION_ID"] == "" {
		err = fmt.Errorf("%s has no VERSION_ID", path)
	}
	if err != nil {
		return usageError{fmt.Errorf("--os-release: %w", err)}
	}
	return nil
}
