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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pawl-os/pawl/internal/bytesize"
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
	text := fmt.Sprintf("%s, %s, %s", d.Path, bytesize.Text(d.Bytes), d.Bus)
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
		d, is, err := s.disk(e.Name())
		if err != nil {
			return nil, fmt.Errorf("list disks: %w", err)
		}
		if is {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Disk) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

// disk is what is known of a block device; is: it is a disk.
func (s system) disk(name string) (d Disk, is bool, err error) {
	r := &reader{dir: filepath.Join(s.sys, "block", name)}
	device, err := filepath.EvalSymlinks(filepath.Join(r.dir, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		return Disk{}, false, nil
	}
	if err != nil {
		return Disk{}, false, err
	}
	if r.text("hidden") == "1" || r.text("device/type") == "5" { // of SCSI, a CD
		return Disk{}, false, r.err
	}
	sectors, bad := strconv.ParseInt(r.text("size"), 10, 64)
	if r.err != nil || bad != nil || sectors <= 0 || sectors > 1<<53 {
		return Disk{}, false, r.err
	}
	d = Disk{
		Path:  filepath.Join(s.dev, strings.ReplaceAll(name, "!", "/")), // as sysfs writes names with a slash
		Bytes: sectors * 512, Bus: bus(device), Removable: r.text("removable") == "1",
		Model:  strings.Join(strings.Fields(r.text("device/vendor")+" "+r.model()), " "),
		Serial: r.serial(),
	}
	if strings.HasPrefix(d.Model, "0x") { // a number, of virtio or of PCI
		_, d.Model, _ = strings.Cut(d.Model, " ")
	}
	d.Not = s.usable(d.Path)
	return d, true, r.err
}

// reader reads what the kernel tells of one device. An error stays: of a disk of which something could not be read,
// nobody can say that it is not the one that is meant.
type reader struct {
	dir string
	err error
}

// text is the text of a file; empty where there is none, or where the device has nothing to say in it.
func (r *reader) text(name string) string {
	return foreign.Text(strings.TrimSpace(string(r.read(name, 256))), 128)
}

func (r *reader) read(name string, most int64) []byte {
	f, err := os.Open(filepath.Join(r.dir, name))
	var b []byte
	if err == nil {
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, most))
	}
	if err != nil && r.err == nil && !slices.ContainsFunc([]error{fs.ErrNotExist, syscall.EINVAL, syscall.ENXIO,
		syscall.ENODEV, syscall.EOPNOTSUPP}, func(none error) bool { return errors.Is(err, none) }) {
		r.err = err
	}
	return b
}

// model is what a disk says that it is: of SCSI, NVMe or a memory card.
func (r *reader) model() string { return cmp.Or(r.text("device/model"), r.text("device/name")) }

// serial is a disk's serial number: of virtio, of NVMe and memory cards, or of SCSI, as the page 0x80 of its vital
// product data has it, where four bytes come before it.
func (r *reader) serial() string {
	if text := cmp.Or(r.text("serial"), r.text("device/serial")); text != "" {
		return text
	}
	page := r.read("device/vpd_pg80", 4096)
	if len(page) < 4 || page[1] != 0x80 {
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
