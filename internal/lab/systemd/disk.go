package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// The versions on the disk. The kernels in them are none: the system has the arguments that GRUB would
// give a kernel, so that it is the slot's.
const (
	one = "1.0.0"
	two = "2.0.0"
)

// machine is a disk that GRUB starts by BIOS, as the model of it does.
type machine struct {
	path   string
	starts int
}

// newMachine has version 1 installed and version 2 armed.
func newMachine(ctx context.Context, dir string) (*machine, error) {
	images, err := virtual.NewImages(ctx, filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	old, err1 := images.Image(one, virtual.Spec{GRUB: true, Size: 1 << 20})
	next, err2 := images.Image(two, virtual.Spec{GRUB: true, Size: 1 << 20})
	backend, err3 := loaders.Named(loaders.GRUBBIOS)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	m := &machine{path: filepath.Join(dir, "disk.raw")}
	raw, err := disk.Create(m.path, virtual.Size)
	if err != nil {
		return nil, err
	}
	err = upgrade.Install(ctx, raw, old, upgrade.InstallOptions{Loader: backend, Partitions: virtual.Partitions()})
	if err := errors.Join(err, raw.Close()); err != nil {
		return nil, err
	}
	line, err := m.boot("A", false)
	if err != nil {
		return nil, err
	}
	return m, m.on(one, line, func(sys *upgrade.Machine) error {
		_, err := sys.Apply(ctx, next, upgrade.Options{})
		return err
	})
}

// boot is one start by GRUB: the kernel's arguments. It has to be that slot's.
func (m *machine) boot(slot string, trial bool) (cmdline string, err error) {
	m.starts++
	raw, err := disk.Open(m.path)
	if err != nil {
		return "", err
	}
	outcome, err := predict.Boot(raw, efivar.NewMemory(), predict.Options{BIOS: true})
	if err := errors.Join(err, raw.Close()); err != nil {
		return "", err
	}
	if string(outcome.Slot) != slot || outcome.Trial != trial {
		return "", fmt.Errorf("it boots %s, want slot %s, trial=%t", outcome, slot, trial)
	}
	return outcome.Cmdline, nil
}

// on has somebody work on the disk as the system does that runs.
func (m *machine) on(version, line string, do func(*upgrade.Machine) error) error {
	sys, err := upgrade.Open(m.path, upgrade.OpenOptions{Loaders: loaders.All(), Vars: efivar.Absent(), Cmdline: &line,
		BootID: fmt.Sprintf("start-%d", m.starts), Version: version})
	if err != nil {
		return err
	}
	return errors.Join(do(sys), sys.Close())
}

// givenUp refuses a disk of which the next boot is not the old version's, or whose record does not say why.
func (m *machine) givenUp(ctx context.Context) error {
	line, err := m.boot("A", false)
	if err != nil {
		return err
	}
	return m.on(one, line, func(sys *upgrade.Machine) error {
		if _, err := sys.Started(ctx); err != nil {
			return err
		}
		st, err := sys.Status()
		switch a := st.Attempt; {
		case err != nil:
			return err
		case a == nil || a.Result != attempt.FellBack || !strings.Contains(a.Reason, "its service manager gave it up"):
			return fmt.Errorf("the attempt is %+v", a)
		}
		fmt.Printf("systemd: the trial fell back: %s\n", st.Attempt.Reason)
		return nil
	})
}
