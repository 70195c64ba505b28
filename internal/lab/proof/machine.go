package proof

import (
	"context"
	"fmt"
	"reflect"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// Device is what the product works on.
type Device = upgrade.Device

// Kit is what machines are made of.
type Kit struct {
	Loader     string
	Root       bool  // each version has a root in a partition of its slot
	Shims      bool  // some versions bring a shim, which is none that real firmware starts
	Size       int64 // of the disk, bytes
	Partitions func() []partition.Spec
	Image      func(version string) (*image.Image,
		error) // an installer image whose kernel is of one length for all versions
	Version func(kernel string) string // which version has a kernel, or UKI, of that SHA-256
}

// grub reports whether slots hold a kernel and an initramfs, and the loader writes to the disk.
func (k *Kit) grub() bool { return k.Loader != loaders.SystemdBoot }

// machine is a computer in memory: one disk, the firmware's variables, and the boot that it is in. What is done to the
// disk and to the variables is recorded in one order.
type machine struct {
	kit   *Kit
	disk  *disktest.Disk
	vars  *efivar.Memory
	boots int
	last  predict.Outcome  // of the latest boot
	bad   bool             // a sector may be unreadable
	over  Device           // what the product sees in place of disk; nil for disk itself
	wrote written          // by the loader, and flushed by nobody yet
	lies  map[string]int64 // where GRUB's blocks lie on the disk, by path: they never move

	refuses   string // SHA-256 of a program that this firmware does not start; "" for none
	rehearses bool   // operations are rehearsed, which writes nothing and takes longer than all else
}

func (m *machine) context() context.Context {
	if m.rehearses {
		return context.Background()
	}
	return unrehearsed.Context(context.Background())
}

func newMachine(kit *Kit, disk *disktest.Disk, vars *efivar.Memory) *machine {
	m := &machine{kit: kit, disk: disk, vars: vars}
	vars.BeforeWrite = func(name efivar.Name, value []byte) error {
		disk.Atomic(name.String(), value)
		return nil
	}
	return m
}

// clone returns the same machine, running the same boot.
func (m *machine) clone() *machine {
	c := newMachine(m.kit, m.disk.Clone(), m.vars.Clone())
	c.boots, c.last, c.bad = m.boots, m.last, m.bad
	c.lies, c.refuses = m.lies, m.refuses
	c.wrote = written{writes: m.unflushed()}
	return c
}

// crashed is the machine as a power cut left it, switched off.
func (m *machine) crashed(c *disktest.Crash) (*machine, error) {
	vars, err := efivar.LoadMemory(c.Atomics())
	if err != nil {
		return nil, err
	}
	off := newMachine(m.kit, c.Device(), vars)
	_, cannotBeRead := c.Destroyed()
	off.boots, off.bad, off.lies, off.refuses = m.boots, m.bad || cannotBeRead, m.lies, m.refuses
	return off, nil
}

// firmware reads whole pages, as OVMF does, where a sector in them may be unreadable; where none is, what is read does
// not depend on it, and reading only what is needed is faster.
func (m *machine) firmware() predict.Options {
	return predict.Options{SectorReads: !m.bad, BIOS: m.kit.byBIOS(), Refuses: m.refuses}
}

// byBIOS reports whether the machines of this kit have a BIOS.
func (k *Kit) byBIOS() bool { return k.Loader == loaders.GRUBBIOS || k.either() }

// either reports whether UEFI starts the disks of this kit too.
func (k *Kit) either() bool { return k.Loader == loaders.GRUB }

// agreed boots a machine by boot, and the disk as it was before on another one, which has UEFI and no variables, where
// the kit's disks are started by both. Two boots that are not alike are one that is stuck.
func (m *machine) agreed(boot func() (predict.Outcome, error)) (err error) {
	if !m.kit.either() {
		m.last, err = boot()
		return err
	}
	o := m.firmware()
	o.BIOS = false
	moved, err := predict.Boot(m.disk.Clone(), efivar.NewMemory(), o)
	if err != nil {
		return fmt.Errorf("on a machine with UEFI: %w", err)
	}
	if m.last, err = boot(); err != nil {
		return err
	}
	is, other := m.last, moved
	is.Starts, other.Starts, is.Log, other.Log = 0, 0, nil, nil
	if is.Stuck != "" && other.Stuck != "" {
		return nil
	}
	if !reflect.DeepEqual(is, other) {
		m.last = predict.Outcome{Stuck: fmt.Sprintf("a BIOS and UEFI do not agree: %v; %v", m.last, moved)}
	}
	return nil
}

// boot switches the machine off and on.
func (m *machine) boot() error {
	m.boots++
	dev := &writing{Disk: m.disk, writes: m.unflushed()}
	err := m.agreed(func() (predict.Outcome, error) { return predict.Boot(dev, m.vars, m.firmware()) })
	m.wrote = written{writes: dev.writes, flushes: m.disk.Flushes()}
	return err
}

// bootID names the boot that the machine is in.
func (m *machine) bootID() string { return fmt.Sprintf("boot-%d", m.boots) }

// device is what the product works on.
func (m *machine) device() Device {
	if m.over != nil {
		return m.over
	}
	return m.disk
}

// open is what the running system does to work on its own disk. Version is what the system says of itself.
func (m *machine) open(version string) (*upgrade.Machine, error) {
	return upgrade.OpenDevice(m.device(), upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: m.vars, Cmdline: &m.last.Cmdline, BootID: m.bootID(), Version: version, Now: virtual.Now,
	})
}

// part is one partition.
func (m *machine) part(label string) (Device, error) {
	layout, err := partition.Read(m.disk)
	if err != nil {
		return nil, err
	}
	p, err := layout.Find(label)
	if err != nil {
		return nil, err
	}
	return partition.Section(m.device(), p), nil
}

// fs opens the boot file system with the slots as its zones.
func (m *machine) fs(zones ...string) (*bootfs.FS, error) {
	dev, err := m.part("EFI")
	if err != nil {
		return nil, err
	}
	return bootfs.Open(dev, bootfs.Options{Zones: zones, Now: virtual.Now})
}

var slotZones = bootloader.Zones()

// meta opens META for changes.
func (m *machine) meta() (*meta.Store, error) {
	dev, err := m.part("META")
	if err != nil {
		return nil, err
	}
	return meta.Open(dev)
}

// options for the product's operations: each step it reports names the writes that follow.
func (m *machine) options(preserve bool) upgrade.Options {
	return upgrade.Options{Preserve: preserve, Progress: m.step}
}

func (m *machine) step(e progress.Event) {
	if !e.Done && e.Bytes == 0 {
		m.disk.Step(string(e.Step))
	}
}

// with opens the product on the machine as the running system would, and does something.
func (m *machine) with(do func(*upgrade.Machine) error) error {
	s, err := m.running()
	if err != nil {
		return err
	}
	sys, err := m.open(s.version)
	if err != nil {
		return err
	}
	return do(sys)
}

func (m *machine) upgrade(version string, o upgrade.Options) error {
	img, err := m.kit.Image(version)
	if err != nil {
		return err
	}
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.Apply(m.context(), img, o)
		return err
	})
}

func (m *machine) started() (b upgrade.Boot, err error) {
	err = m.with(func(s *upgrade.Machine) error { b, err = s.Started(m.context()); return err })
	return b, err
}

func (m *machine) confirm() error {
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.Confirm(m.context(), m.options(false))
		return err
	})
}

// next boots, and does what every system does early in its boot. What boots must be in slot s.
func (m *machine) next(s bootloader.Slot) error {
	if err := m.boot(); err != nil {
		return err
	}
	if m.last.Slot != s {
		return fmt.Errorf("booted %v, want slot %v", m.last, s)
	}
	_, err := m.started()
	return err
}

// armedSlot is the slot that the next boot is to try, as the loader finds it; None when nothing is armed. at is where
// GRUB's trial.env lies.
func (m *machine) armedSlot(at int64) bootloader.Slot {
	if !m.kit.grub() {
		return m.oneShot()
	}
	s, _ := m.counted(at)
	return s
}
