package loadertest

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// Rig is a machine with its loader opened.
type Rig struct {
	*Machine
	FS *bootfs.FS
	bootloader.Bootloader
}

// Rig opens the machine anew, as after a boot.
func (b Subject) Rig(m *Machine) (*Rig, error) {
	f, err := m.FS()
	if err != nil {
		return nil, err
	}
	loader, err := b.open(m, f, m.Vars)
	if err != nil {
		return nil, err
	}
	return &Rig{m, f, loader}, nil
}

// open opens the loader of a machine; vars is nil while a disk image is built.
func (b Subject) open(m *Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	if b.Vars != nil {
		vars = b.Vars(vars)
	}
	l, err := b.Open(bootloader.Config{Disk: m.Place(), FS: f, Vars: vars, Cmdline: m.Cmdline})
	if err != nil || b.Way == "" {
		return l, err
	}
	chooser, ok := l.(bootloader.WayChooser)
	if !ok {
		return nil, fmt.Errorf("%s has ways of trying, and is no WayChooser", b.Name())
	}
	return l, chooser.TryBy(b.Way)
}

// machine returns a machine with empty slots and nothing else.
func (b Subject) machine() (*Machine, error) {
	m, err := NewMachine(512)
	if err != nil {
		return nil, err
	}
	m.Options, m.Separate = b.Options, b.Separate
	f, err := m.FS()
	if err != nil {
		return nil, err
	}
	for _, s := range bootloader.Slots() {
		if err := f.Mkdir(s.Dir()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Installed returns a machine that runs version 1 from slot A, after its first boot.
func (b Subject) Installed() (*Rig, error) {
	m, err := b.machine()
	if err != nil {
		return nil, err
	}
	if err := b.installAll(m); err != nil {
		return nil, err
	}
	if _, err := m.Boot(); err != nil {
		return nil, err
	}
	return b.Rig(m)
}

// installAll is a whole first install, as an image builder does it: the firmware's variables are not there yet.
func (b Subject) installAll(m *Machine) error {
	f, err := m.FS()
	if err != nil {
		return err
	}
	m.Disk.Step("loader")
	if err := b.Install(m.Place(), f, b.Files); err != nil {
		return err
	}
	loader, err := b.open(m, f, nil)
	if err != nil {
		return err
	}
	m.Disk.Step("files")
	held, err := m.Fill(f, bootloader.A, "1")
	if err != nil {
		return err
	}
	m.Disk.Step("prepare")
	if err := loader.Prepare(bootloader.A, held, 1); err != nil {
		return err
	}
	m.Disk.Step("confirm")
	return loader.Confirm(bootloader.A)
}

// steps of an upgrade of slot s, up to a complete slot that is prepared and not armed.
func (r *Rig) prepare(s bootloader.Slot, version string) error {
	r.Disk.Step("disarm")
	if err := r.Disarm(); err != nil {
		return err
	}
	r.Disk.Step("withdraw")
	if err := r.Withdraw(s); err != nil {
		return err
	}
	r.Disk.Step("files")
	if err := r.FS.Clear(s.Dir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m, err := r.Fill(r.FS, s, version)
	if err != nil {
		return err
	}
	r.Disk.Step("prepare")
	return r.Prepare(s, m, 1)
}

func (r *Rig) arm(s bootloader.Slot) error {
	r.Disk.Step("arm")
	return r.Arm(s, 1)
}

// next boots and opens the machine anew.
func (b Subject) next(t *testing.T, r *Rig) (*Rig, predict.Outcome) {
	t.Helper()
	o, err := r.Boot()
	noError(t, err)
	again, err := b.Rig(r.Machine)
	noError(t, err)
	return again, o
}
