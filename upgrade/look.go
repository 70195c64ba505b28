package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Backend is the kind of loader that boots the machine.
func (m *Machine) Backend() bootloader.Backend { return m.backend }

// Damage reads the files of a complete slot, and tells those that are not what its manifest says, a clause each. Only a
// context that ends is an error.
func (m *Machine) Damage(ctx context.Context, s report.Slot) (problems []string, err error) {
	if m.DropCache != nil {
		if err := m.DropCache(); err != nil {
			return []string{fmt.Sprintf("cached pages cannot be dropped: %v", err)}, nil
		}
	}
	for _, f := range s.Manifest.Files {
		in, err := m.Boot.Open(s.Slot.File(f.Name))
		h := sha256.New()
		if err == nil {
			_, err = io.CopyBuffer(h, struct{ io.Reader }{&meter{ctx, in, func(int64) {}, 0}}, make([]byte, 1<<20))
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s cannot be read: %v", f.Name, err))
		case sum(h) != f.SHA256:
			problems = append(problems, fmt.Sprintf("%s has SHA-256 %s, its manifest says %s", f.Name, sum(h),
				f.SHA256))
		}
	}
	for _, i := range s.Manifest.Images {
		switch err := m.readImages(ctx, s.Slot, []bootloader.Image{i}, nil); {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, partition.ErrBusy): // the root of what runs: the kernel checks it while it is read
		case err != nil:
			problems = append(problems, err.Error())
		}
	}
	return problems, nil
}

// CheckFiles tells what is wrong with the boot file system as such.
func (m *Machine) CheckFiles() ([]bootfs.Problem, error) { return m.Boot.Check() }

// SystemVersion is what the system in a slot calls itself; empty where its files do not say.
func (m *Machine) SystemVersion(s bootloader.Slot) (string, error) {
	f, err := m.Boot.Open(s.File(bootloader.UKIFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	img, err := uki.Parse(f, f.Size())
	if err != nil {
		return "", err
	}
	return img.Version()
}

// Rehearse plays an upgrade to a system as large as what runs, on copies of the disk and of the variables: its trial,
// its confirmation and each way back. Where nothing of the disk runs, its default does, booted once. An error is that
// with which an upgrade would be refused, or predict.ErrNotModelled where that cannot be known.
func (m *Machine) Rehearse(ctx context.Context) error {
	st, err := m.Loader.State()
	if err != nil {
		return fmt.Errorf("read the loader's state: %w", err)
	}
	if st.Active == bootloader.None {
		if m, err = m.booted(st.Default); err != nil {
			return err
		}
	}
	return m.rehearseNext(ctx)
}

// booted is the machine in its next boot, played on copies.
func (m *Machine) booted(want bootloader.Slot) (*Machine, error) {
	s, err := m.stage(bootloader.Manifest{})
	if err != nil {
		return nil, err
	}
	if err := s.boots(want, false, 1); err != nil {
		return nil, err
	}
	return s.open(m.slot(want).Manifest.Version)
}
