package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/lab/proof"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// machine is a computer in memory, as somebody left it.
type machine struct {
	kit   *proof.Kit
	disk  *disk
	vars  *store
	boots int
	id    string          // of the latest boot
	later string          // begins the ids of boots after its life, in which other boots had the same numbers
	last  predict.Outcome // of the latest boot

	keeps      bool // the firmware does not use up what is to be booted once
	unrecorded bool // the loader's own writes to the disk do not arrive
}

func (m *machine) clone() *machine {
	c := *m
	c.disk, c.vars = &disk{Disk: m.disk.Disk.Clone()}, m.vars.clone()
	return &c
}

// disk counts the writes.
type disk struct {
	*disktest.Disk
	writes int
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.writes++
	return d.Disk.WriteAt(p, off)
}

// store keeps variables as a system sees them through a firmware that has faults.
type store struct {
	*efivar.Memory
	unreadable map[efivar.Name]bool // reads and writes end with an error
	fixed      map[efivar.Name]bool // cannot be changed; true: and firmware says that it was
	full       bool                 // no variable can be made, and none can grow
	readOnly   bool                 // nothing can be changed
}

func (s *store) clone() *store {
	c := *s
	c.Memory = s.Memory.Clone()
	return &c
}

func (s *store) Read(n efivar.Name) (efivar.Variable, error) {
	if _, err := s.Memory.Read(n); err == nil && s.unreadable[n] {
		return efivar.Variable{}, fmt.Errorf("read variable %s: %w", n.Name, syscall.EIO)
	}
	return s.Memory.Read(n)
}

func (s *store) Write(n efivar.Name, v efivar.Variable) error {
	old, err := s.Memory.Read(n)
	_, hold := s.fixed[n]
	switch {
	case err == nil && s.unreadable[n]:
		return fmt.Errorf("write variable %s: %w", n.Name, syscall.EIO)
	case err == nil && old.Equal(v):
		return nil
	case s.fixed[n] && err == nil:
		return nil
	case s.readOnly || hold && err == nil:
		return fmt.Errorf("write variable %s: %w: %w", n.Name, syscall.EROFS, efivar.ErrNotKept)
	case s.full && (err != nil || len(v.Data) > len(old.Data)):
		return fmt.Errorf("write variable %s: %w: %w", n.Name, syscall.ENOSPC, efivar.ErrNotKept)
	}
	return s.Memory.Write(n, v)
}

func (s *store) Delete(n efivar.Name) error {
	_, err := s.Memory.Read(n)
	if s.fixed[n] && err == nil {
		return nil
	}
	if _, hold := s.fixed[n]; err == nil && (s.readOnly || hold) {
		return fmt.Errorf("delete variable %s: %w: %w", n.Name, syscall.EROFS, efivar.ErrNotKept)
	}
	return s.Memory.Delete(n)
}

// hides reports whether a fault shows only once something is written.
func (s *store) hides() bool { return s.full || len(s.unreadable) > 0 || len(s.fixed) > 0 }

// holdsOn reports whether what arms a trial may stay, since it cannot be deleted.
func (s *store) holdsOn() bool {
	_, once := s.fixed[efivar.Loader("LoaderEntryOneShot")]
	_, next := s.fixed[efivar.Global("BootNext")]
	return s.readOnly || once || next
}

// untold reports whether no boot to come can say which slot runs, and this one did not need to: what says it was not
// there to be looked at, and cannot be read once it is.
func (s *store) untold() bool {
	for name := range s.unreadable {
		_, err := s.Memory.Read(name)
		if err != nil && slices.Contains([]string{"LoaderEntrySelected", "LoaderDevicePartUUID",
			"LoaderImageIdentifier"}, name.Name) {
			return true
		}
	}
	return false
}

// Writable is what efivarfs says of itself: a firmware that refuses does not show before it is asked.
func (s *store) Writable() error {
	if s.readOnly {
		return fmt.Errorf("efivarfs is mounted read-only: %w", efivar.ErrNotKept)
	}
	return nil
}

// boot switches the machine off and on.
func (m *machine) boot() error {
	m.boots++
	m.id = fmt.Sprintf("%sboot-%d", m.later, m.boots)
	once := map[efivar.Name]efivar.Variable{}
	for _, n := range []efivar.Name{efivar.Loader("LoaderEntryOneShot"), efivar.Global("BootNext")} {
		if v, err := m.vars.Memory.Read(n); err == nil && m.keeps {
			once[n] = v
		}
	}
	var dev device.Reader = m.disk.Disk
	if m.unrecorded {
		dev = refusing{m.disk.Disk}
	}
	var err error
	m.last, err = predict.Boot(dev, m.vars.Memory, predict.Options{SectorReads: true,
		BIOS: m.kit.Loader == loaders.GRUBBIOS})
	for n, v := range once {
		if err := m.vars.Memory.Write(n, v); err != nil {
			return err
		}
	}
	return err
}

// refusing is a disk on which the loader's writes fail.
type refusing struct{ *disktest.Disk }

func (refusing) WriteAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// open is what the running system does to work on its own disk.
func (m *machine) open() (*upgrade.Machine, error) {
	return upgrade.OpenDevice(m.disk, upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: m.vars, Cmdline: &m.last.Cmdline, BootID: m.id,
		Version: m.kit.Version(m.last.Digest), Now: virtual.Now,
	})
}

// part is one partition.
func (m *machine) part(label string) (upgrade.Device, error) {
	p, err := m.find(label)
	if err != nil {
		return nil, err
	}
	return partition.Section(m.disk, p), nil
}

// find is the first partition with a label: others may have made one more.
func (m *machine) find(label string) (partition.Partition, error) {
	layout, err := partition.Read(m.disk)
	if err != nil {
		return partition.Partition{}, err
	}
	i := slices.IndexFunc(layout.Partitions, func(p partition.Partition) bool { return p.Label == label })
	if i < 0 {
		return partition.Partition{}, fmt.Errorf("no partition %s", label)
	}
	return layout.Partitions[i], nil
}

// drive is how firmware names the boot file system.
func (m *machine) drive() (efivar.HardDrive, error) {
	p, err := m.find("EFI")
	if err != nil {
		return efivar.HardDrive{}, err
	}
	guid, err := efivar.ParseGUID(p.GUID.String())
	return efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid},
		err
}

// files opens the boot file system as any other program does: it knows of no zones, and fills the volume from its
// beginning.
func (m *machine) files() (*bootfs.FS, error) {
	dev, err := m.part("EFI")
	if err != nil {
		return nil, err
	}
	return bootfs.Open(dev, bootfs.Options{Now: virtual.Now})
}

// tree reads every file of a volume, by its path.
func tree(f *bootfs.FS) (map[string][]byte, error) {
	found := map[string][]byte{}
	var walk func(dir string) error
	walk = func(dir string) error {
		infos, err := f.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, i := range infos {
			path := strings.TrimPrefix(dir+"/"+i.Name, "/")
			if i.Dir {
				if err := walk(path); err != nil {
					return err
				}
				continue
			}
			if found[path], err = f.ReadFile(path); err != nil {
				return err
			}
		}
		return nil
	}
	return found, walk("")
}

// put writes a file and the directories above it, in place of what is there.
func put(f *bootfs.FS, path string, data []byte) error {
	for i, c := range path {
		if c != '/' {
			continue
		}
		if _, err := f.Stat(path[:i]); err == nil {
			continue
		}
		if err := f.Mkdir(path[:i]); err != nil {
			return err
		}
	}
	if _, err := f.Stat(path); err == nil {
		if err := f.Remove(path); err != nil {
			return err
		}
	}
	return f.WriteFile(path, data)
}

// system is what a boot started.
type system struct {
	slot                    bootloader.Slot
	version, digest, initrd string
}

// runs is the known system that a boot started, whole; ok is false for anything else.
func (m *machine) runs(o predict.Outcome) (s system, ok bool) {
	s = system{o.Slot, m.kit.Version(o.Digest), o.Digest, o.Initrd}
	ok = o.Stuck == "" && o.Slot != bootloader.None && s.version != ""
	if ok && !strings.HasSuffix(o.Path, ".efi") { // the initramfs and the arguments are of the same version
		ok = strings.Contains(o.Cmdline+" ", "proof.version="+s.version+" ") && m.initrd(s.version) == s.initrd
	}
	return s, ok && m.hasRoot(s.slot, s.version)
}

func (s system) String() string { return fmt.Sprintf("%s in slot %v", s.version, s.slot) }

// initrd is the digest of a version's initramfs.
func (m *machine) initrd(version string) string {
	img, err := m.kit.Image(version)
	if err != nil {
		return ""
	}
	for _, a := range img.Assets {
		if a.Name == "initramfs.xz" {
			return a.SHA256
		}
	}
	return ""
}

// spoil overwrites the beginning of what a slot starts.
func (m *machine) spoil(s bootloader.Slot) error {
	f, err := m.files()
	if err != nil {
		return err
	}
	path := s.File(bootloader.UKIFile)
	if _, err := f.Stat(path); err != nil {
		path = s.File(bootloader.KernelFile)
	}
	data, err := f.ReadFile(path)
	if err != nil {
		return err
	}
	w, err := f.Fill(path, 0)
	if err != nil {
		return err
	}
	clear(data[:min(2048, len(data))])
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return err
	}
	return w.Close()
}

// setByOthers reports whether another program has set what boots next: a BootNext to what is no UKI or loader of a
// slot, or a LoaderEntryOneShot that is no entry of a slot.
func (m *machine) setByOthers() bool {
	if v, err := m.vars.Memory.Read(efivar.Global("BootNext")); err == nil {
		n, err := efivar.DecodeNumber(v.Data)
		o, err2 := efivar.LoadOption{}, error(nil)
		if err == nil {
			if v, err2 = m.vars.Memory.Read(efivar.Boot(n)); err2 == nil {
				o, err2 = efivar.DecodeLoadOption(v.Data)
			}
		}
		_, path, short, ok := o.Target()
		return err != nil || err2 != nil || !ok || !short || !strings.Contains(strings.ToLower(path), `\efi\pawl\`)
	}
	v, err := m.vars.Memory.Read(efivar.Loader("LoaderEntryOneShot"))
	if err != nil {
		return false
	}
	text, err := efivar.DecodeString(v.Data)
	return err != nil || !slices.ContainsFunc(bootloader.Slots(), func(s bootloader.Slot) bool {
		return strings.EqualFold(text, entryID(s))
	})
}

// ordered reports whether META has an open attempt for the slot that runs, or cannot be read and so does not say that
// it has none.
func (m *machine) ordered() (bool, error) {
	p, err := m.part("META")
	if err != nil {
		return false, err
	}
	values, err := meta.Read(p)
	if err != nil {
		return true, nil
	}
	data, err := values.Value(meta.TagAttempt)
	if errors.Is(err, meta.ErrNoTag) {
		return false, nil
	}
	var a struct {
		Phase string
		To    bootloader.Slot
	}
	if err != nil || json.Unmarshal(data, &a) != nil {
		return true, nil
	}
	return a.Phase != "ended" && a.To == m.last.Slot, nil
}
