package upgrade

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
)

// OpenOptions say how to open a machine. The zero value opens this machine for changes.
type OpenOptions struct {
	ReadOnly bool             // for Plan and Status beside a running operation: nothing is locked, nothing is written
	Vars     efivar.Store     // nil: this machine's, from /sys/firmware/efi/efivars
	Cmdline  *string          // nil: this machine's, from /proc/cmdline
	BootID   string           // empty: this machine's, from /proc/sys/kernel/random/boot_id
	Version  string           // empty: this machine's VERSION_ID, from /etc/os-release
	Log      *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Open opens the machine that boots from disk: a block device, or a file that holds a disk image. The boot file system
// is taken exclusively unless ReadOnly; one that is mounted, or that another operation holds, is an error that names
// where. Close releases it.
func Open(disk string, o OpenOptions) (_ *Machine, err error) {
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: o.ReadOnly, Partitions: true})
	if err != nil {
		return nil, err
	}
	open := []interface{ Close() error }{d}
	closeAll := func() error {
		var errs []error
		for i := len(open) - 1; i >= 0; i-- {
			errs = append(errs, open[i].Close())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open machine on %s: %w", disk, err), closeAll())
		}
	}()
	layout, err := partition.Read(d)
	if err != nil {
		return nil, err
	}
	parts := map[string]*partition.Opened{}
	for _, label := range []string{"EFI", "META"} {
		if parts[label], err = d.Partition(label); err != nil {
			return nil, err
		}
		open = append(open, parts[label])
	}
	m, err := machine(parts, layout, o)
	if err != nil {
		return nil, err
	}
	m.close = closeAll
	if _, err := layout.Find("EPHEMERAL"); err == nil {
		m.Wipe = func() error { return wipe(d, "EPHEMERAL") }
	}
	return m, nil
}

func machine(parts map[string]*partition.Opened, layout partition.Layout, o OpenOptions) (*Machine, error) {
	esp, err := layout.Find("EFI")
	if err != nil {
		return nil, err
	}
	boot, err := bootfs.Open(parts["EFI"], bootfs.Options{Zones: zones(), Now: o.Now})
	if err != nil {
		return nil, err
	}
	cmdline := text("/proc/cmdline")
	if o.Cmdline != nil {
		cmdline = *o.Cmdline
	}
	if o.Vars == nil {
		o.Vars = efivar.Open(efivar.Dir)
	}
	loader, err := sdboot.New(sdboot.Config{FS: boot, Vars: o.Vars, PartitionGUID: esp.GUID, Cmdline: cmdline})
	if err != nil {
		return nil, err
	}
	c := Config{
		Boot: boot, Loader: loader, Meta: parts["META"], DropCache: parts["EFI"].DropCache, ReadOnly: o.ReadOnly,
		BootID: o.BootID, Version: o.Version, Log: o.Log, Now: o.Now,
	}
	if c.BootID == "" {
		c.BootID = text("/proc/sys/kernel/random/boot_id")
	}
	if c.Version == "" {
		c.Version = uki.ParseRelease(text("/etc/os-release"))["VERSION_ID"]
	}
	return New(c)
}

// wipe takes one partition exclusively, so that nothing has it mounted, and wipes it.
func wipe(d *partition.Disk, label string) error {
	p, err := d.Partition(label)
	if err != nil {
		return err
	}
	return errors.Join(partition.Wipe(p), p.Close())
}

// text is the content of a small file, or empty: what it would say is then not known.
func text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
