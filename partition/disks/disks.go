// Package disks lists the disks of this machine, and finds the one that a description fits.
//
// Start with List, and Want.Choose. A description that fits none, or more than one, is an error that says of each disk
// what it is and why it is not taken: nothing is ever chosen by its place in a list.
//
// It reads sysfs and opens no disk but to ask whether it is in use. Names of models and serial numbers come from the
// disks, and are made valid text here.
package disks

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/partition"
)

// Disk is a disk of this machine.
type Disk struct {
	Path          string // its device node
	Bytes         int64
	Model, Serial string // as the disk says; empty: it says none
	Bus           string // one of Buses
	Removable     bool
	Not           string // why nothing can be installed on it: in use, read-only; empty: it can
}

// Buses are the ways in which disks are attached, as far as they are told apart.
func Buses() []string { return []string{"ata", "mmc", "nvme", "scsi", "usb", "virtio", "other"} }

// String is the disk in one line.
func (d Disk) String() string {
	text := fmt.Sprintf("%s, %s, %s", d.Path, partition.Size(d.Bytes), d.Bus)
	if d.Model != "" {
		text += ", model " + strconv.Quote(d.Model)
	}
	if d.Serial != "" {
		text += ", serial " + strconv.Quote(d.Serial)
	}
	if d.Removable {
		text += ", removable"
	}
	return text
}

// List lists the disks of this machine in the order of their names: what has a driver and a size, and is no CD. Loop
// devices, memory and what is made of other devices are none.
func List() ([]Disk, error) { return system{"/sys", "/dev", usable}.list() }

// usable says why a disk cannot be written; empty: it can.
func usable(path string) string {
	d, err := partition.Open(path, partition.OpenOptions{})
	if err == nil {
		err = d.Close()
	}
	if err == nil {
		return ""
	}
	return foreign.Text(err.Error(), 256)
}

// system is where the kernel tells of disks.
type system struct {
	sys, dev string
	usable   func(path string) string
}

func (s system) list() ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(s.sys, "block"))
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	var all []Disk
	for _, e := range entries {
		dir := filepath.Join(s.sys, "block", e.Name())
		device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
		if err != nil || read(dir, "hidden") == "1" || read(dir, "device/type") == "5" { // of SCSI, a CD
			continue
		}
		sectors, err := strconv.ParseInt(read(dir, "size"), 10, 64)
		if err != nil || sectors <= 0 || sectors > 1<<53 {
			continue
		}
		d := Disk{
			Path:  filepath.Join(s.dev, strings.ReplaceAll(e.Name(), "!", "/")), // as sysfs writes names with a slash
			Bytes: sectors * 512, Bus: bus(device), Removable: read(dir, "removable") == "1",
			Model:  strings.Join(strings.Fields(read(dir, "device/vendor")+" "+model(dir)), " "),
			Serial: serial(dir),
		}
		if strings.HasPrefix(d.Model, "0x") { // a number, of virtio or of PCI
			_, d.Model, _ = strings.Cut(d.Model, " ")
		}
		d.Not = s.usable(d.Path)
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Disk) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

// read is the text of a file in sysfs; empty where there is none.
func read(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := f.Read(b)
	return foreign.Text(strings.TrimSpace(string(b[:n])), 128)
}

// model is what a disk says that it is: of SCSI, NVMe or a memory card.
func model(dir string) string { return cmp.Or(read(dir, "device/model"), read(dir, "device/name")) }

// serial is a disk's serial number: of virtio, of NVMe and memory cards, or of SCSI, as the page 0x80 of its vital
// product data has it, where four bytes come before it.
func serial(dir string) string {
	if text := cmp.Or(read(dir, "serial"), read(dir, "device/serial")); text != "" {
		return text
	}
	page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
	if err != nil || len(page) < 4 || page[1] != 0x80 {
		return ""
	}
	return foreign.Text(strings.TrimSpace(string(page[4:min(4+int(page[2])<<8+int(page[3]), len(page))])), 128)
}

// bus tells how a device is attached, by its place in sysfs: the innermost that is known.
func bus(device string) string {
	parts := strings.Split(device, "/")
	for _, known := range []struct{ prefix, name string }{
		{"usb", "usb"}, {"nvme", "nvme"}, {"mmc", "mmc"}, {"ata", "ata"}, {"host", "scsi"}, {"virtio", "virtio"},
	} {
		if slices.ContainsFunc(parts, func(p string) bool {
			rest, ok := strings.CutPrefix(p, known.prefix)
			return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
		}) {
			return known.name
		}
	}
	return "other"
}

// Errors that callers act on.
var (
	// ErrNone is returned when no disk fits. Do: say less of it, or attach one.
	ErrNone = errors.New("no disk fits")
	// ErrSeveral is returned when more than one disk fits. Do: say more of the one that is meant.
	ErrSeveral = errors.New("more than one disk fits")
)
