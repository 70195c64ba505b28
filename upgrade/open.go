package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/pstore"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// OpenOptions say how to open a machine. With nothing but Loaders it is this machine, for changes.
type OpenOptions struct {
	// Loaders are those that the machine may have; loaders.All lists Pawl's own. They are required.
	Loaders []bootloader.Backend
	// Whole takes the disk as a whole, which fails while anything of it is mounted. GRUB for BIOS can be replaced only
	// so: it is in none of the partitions that are opened otherwise.
	Whole  bool
	Labels partition.Labels // of the disk's partitions, where they are not those of partition.Default
	// for Plan and Status beside a running operation: nothing is locked, nothing is written
	ReadOnly bool
	Vars     efivar.Store // nil: this machine's, from /sys/firmware/efi/efivars
	// whether no disk of the machine has a partition; nil: looked up among this machine's disks
	Gone     func(efivar.HardDrive) bool
	Cmdline  *string        // nil: this machine's, from /proc/cmdline
	BootID   string         // empty: this machine's, from /proc/sys/kernel/random/boot_id
	Version  string         // empty: the VERSION_ID of the running system's os-release
	Way      string         // how the loader tries a slot, when Options.Way is empty
	Release  string         // where that os-release is; empty: /etc/os-release
	Versions versions.Rules // which version may follow it; without Version, the os-release may set its window
	// what kernels left when they died; empty: this machine's if Open opens a block device, else nothing
	PStore  pstore.Dir
	Log     *slog.Logger      // nil discards
	Observe progress.Observer // hears of each step; nil: nobody
	Now     func() time.Time  // nil is time.Now
	memory  *meta.Store       // in place of the partition META
}

// Open opens the machine that boots from disk: a block device, or a file that holds a disk image. The boot file system
// is taken exclusively unless ReadOnly; one that is mounted, or that another operation holds, is an error that names
// where. Close releases it.
func Open(disk string, o OpenOptions) (*Machine, error) {
	if info, err := os.Stat(disk); err == nil && info.Mode()&os.ModeDevice != 0 && o.PStore == "" {
		o.PStore = pstore.System
	}
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: o.ReadOnly, Partitions: !o.Whole})
	if err != nil {
		return nil, err
	}
	opened := opening{disk: d, labels: o.Labels}
	part := opened.part
	if o.Whole {
		part = nil
	}
	m, err := machine(d, part, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open machine on %s: %w", disk, told(d, o, err)), opened.close())
	}
	m.close = opened.close
	if m.Wipe != nil {
		m.Wipe = func() error { return wipe(d, o.Labels.Of(partition.Ephemeral)) }
	}
	return m, nil
}

// opening is a disk with those of its partitions that were opened.
type opening struct {
	disk   *partition.Disk
	labels partition.Labels
	parts  []io.Closer
}

// opener opens the partition of a role.
type opener func(partition.Role) (Device, error)

func (o *opening) part(role partition.Role) (Device, error) {
	p, err := o.disk.Partition(o.labels.Of(role))
	if err != nil {
		return nil, err
	}
	o.parts = append(o.parts, p)
	return p, nil
}

func (o *opening) close() error {
	var errs []error
	for _, p := range slices.Backward(o.parts) {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, o.disk.Close())...)
}

// Check refuses options without a loader, and labels that cannot be told apart.
func (o OpenOptions) Check() error {
	if len(o.Loaders) == 0 {
		return errors.New("no loaders are given, so the machine's cannot be known (set Loaders; package " +
			"bootloader/loaders lists those of Pawl)")
	}
	return o.Labels.Check()
}

// OpenDevice is Open for a disk that is a device already. It stays the caller's to close and to keep others from.
func OpenDevice(dev Device, o OpenOptions) (*Machine, error) {
	m, err := machine(dev, nil, o)
	if err != nil {
		return nil, fmt.Errorf("open machine: %w", told(dev, o, err))
	}
	return m, nil
}

// machine opens the partitions of a disk, each with part, or where that is nil as a section of it, and the loader on
// them.
func machine(disk Device, part opener, o OpenOptions) (*Machine, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	layout, err := partition.Read(disk)
	if err != nil {
		return nil, err
	}
	if part == nil {
		part = within(disk, layout, o.Labels)
	}
	parts := map[partition.Role]Device{}
	for _, role := range []partition.Role{partition.EFI, partition.Meta} {
		if parts[role], err = part(role); errors.Is(err, partition.ErrSeveral) {
			return nil, alike(err, layout, role, o)
		} else if err != nil {
			return nil, err
		}
	}
	c := config{OpenOptions: o, Meta: parts[partition.Meta], Disk: disk, Part: part,
		halves: &halves{layout: layout, labels: o.Labels, open: part}}
	if c.Boot, err = bootfs.Open(parts[partition.EFI], bootfs.Options{Zones: bootloader.Zones(),
		Now: o.Now}); err != nil {
		return nil, err
	}
	if err := c.complete(disk); err != nil {
		return nil, err
	}
	if c.backend, err = bootloader.ProbeAll(o.Loaders, c.Boot); err != nil {
		return nil, err
	}
	at, err := place(disk, layout, o.Labels)
	if err != nil {
		return nil, err
	}
	c.Loader, err = c.backend.Open(bootloader.Config{Disk: at, FS: c.Boot, Vars: c.Vars, Cmdline: c.Cmdline,
		Gone: c.Gone})
	if err != nil {
		return nil, err
	}
	for role, part := range parts {
		c.Disk = partition.Join(c.Disk, layout, o.Labels.Of(role), part)
	}
	for _, problem := range layout.Problems {
		c.Problems = append(c.Problems, "partition table: "+problem)
	}
	if d, ok := parts[partition.EFI].(device.Cached); ok {
		c.DropCache = d.DropCache
	}
	if !o.ReadOnly {
		c.Direct, c.NoDirect = device.Direct(parts[partition.EFI])
	}
	if _, err := o.Labels.Find(layout, partition.Ephemeral); err == nil {
		c.Wipe = func() error {
			p, err := within(disk, layout, o.Labels)(partition.Ephemeral)
			if err != nil {
				return err
			}
			return partition.Wipe(p)
		}
	}
	return newMachine(c)
}

// complete asks this machine for what of its boot the options do not say.
func (c *config) complete(disk Device) (err error) {
	if c.OpenOptions.Cmdline != nil {
		c.Cmdline = *c.OpenOptions.Cmdline
	} else if c.Cmdline, err = text(cmdlinePath); err != nil {
		return err
	}
	if c.Gone == nil {
		c.Gone = gone(disk, c.Vars)
	}
	if c.Vars == nil {
		c.Vars = efivar.Open(efivar.Dir)
	}
	if c.BootID == "" {
		if c.BootID, err = text("/proc/sys/kernel/random/boot_id"); err != nil {
			return err
		}
	}
	if c.Version == "" {
		data, err := text(cmp.Or(c.Release, "/etc/os-release"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a system without one does not say which version it is
			return err
		}
		release := uki.ParseRelease(data)
		c.Version = release["VERSION_ID"]
		c.Versions, c.VersionsWarning = c.Versions.Of(release)
	}
	return nil
}

// within is sections of a disk whose table was read.
func within(disk Device, layout partition.Layout, labels partition.Labels) opener {
	return func(role partition.Role) (Device, error) {
		p, err := labels.Find(layout, role)
		if err != nil {
			return nil, err
		}
		return partition.Section(disk, p), nil
	}
}

// wipe takes one partition exclusively, so that nothing has it mounted, and wipes it.
func wipe(d *partition.Disk, label string) error {
	p, err := d.Partition(label)
	if err != nil {
		return err
	}
	return errors.Join(partition.Wipe(p), p.Close())
}

// cmdlinePath is where the kernel tells its arguments. They say which slot runs, so what cannot be read there is no
// answer.
const cmdlinePath = "/proc/cmdline"

// text is the content of a small file that tells of this boot.
func text(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read what runs: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
