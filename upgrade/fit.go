package upgrade

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/uki"
)

// fit looks at what slot s would boot, as far as its files can be judged, and returns the version that they state.
func (m *Machine) fit(s bootloader.Slot, arch string) (version string, err error) {
	path := s.File(bootloader.UKIFile)
	f, err := m.Boot.Open(path)
	if err == nil {
		return fitUKI(f, f.Size(), arch)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	path = s.File(bootloader.KernelFile)
	f, err = m.Boot.Open(path)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	if b, ok := m.backend.(bootloader.KernelChecker); ok {
		if err := b.CheckKernel(f, f.Size(), arch); err != nil {
			return "", fmt.Errorf("%w: %w (force writes it all the same)", err, ErrUnfit)
		}
	}
	return "", m.fitArguments(s)
}

// fitLoader looks at the loader that slot s holds beside its system. One for other machines is refused whatever is
// forced: nothing would start any more once it was installed.
func (m *Machine) fitLoader(s bootloader.Slot, arch string) error {
	r, ok := m.Loader.(bootloader.Replacer)
	if !ok {
		return nil
	}
	if err := r.Fits(s, arch); err != nil {
		return fmt.Errorf("%w: %w", err, ErrUnfit)
	}
	return nil
}

// fitArguments looks at a kernel's arguments: loaders give panic=N where they say nothing, but not against what they
// say.
func (m *Machine) fitArguments(s bootloader.Slot) error {
	line, err := m.Boot.ReadFile(s.File(bootloader.CmdlineFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.File(bootloader.CmdlineFile), err)
	}
	if err := noneReserved(string(line)); err != nil {
		return err
	}
	if seconds, said := cmdline.Panic(string(line)); said && seconds == 0 {
		return fmt.Errorf("its kernel arguments %q say that a panic hangs for ever: %w (build it with panic=10, or "+
			"force)", line, ErrUnfit)
	}
	return nil
}

// fitEntry refuses arguments that the loader could not write into the slot's entry. Force does not help.
func (m *Machine) fitEntry(s bootloader.Slot, version string) error {
	l, ok := m.Loader.(bootloader.ArgumentChecker)
	if _, err := m.Boot.Stat(s.File(bootloader.UKIFile)); !ok || err == nil {
		return nil
	}
	line, err := m.Boot.ReadFile(s.File(bootloader.CmdlineFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at %s: %w", s.File(bootloader.CmdlineFile), err)
	}
	if err := l.CheckArguments(version, string(line)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrUnfit)
	}
	return nil
}

// noneReserved refuses the kernel arguments by which a boot says what it is. An image that had them would be taken for
// another slot, also behind a "--" by an older reader.
func noneReserved(line string) error {
	for _, a := range cmdline.Split(line) {
		if cmdline.Ours(a.Name) {
			return fmt.Errorf("its kernel argument %s %w (leave it out of the image)", a.Raw, errReserved)
		}
	}
	return nil
}

// errReserved is of an image that force does not help.
var errReserved = fmt.Errorf("is Pawl's own: %w", ErrUnfit)

// fitUKI looks at a UKI of size bytes: that it is whole, for this machine, and that its kernel reboots after a panic,
// for else a trial that dies would hang. It returns the version that the UKI's os-release states.
func fitUKI(r io.ReaderAt, size int64, arch string) (version string, err error) {
	img, err := uki.Parse(r, size)
	if err != nil {
		return "", fmt.Errorf("%w: %w (force writes it all the same)", err, ErrUnfit)
	}
	version, unread := img.Version()
	if img.Arch != arch {
		return version, fmt.Errorf("its UKI is for %q, the image says %q: %w", img.Arch, arch, ErrUnfit)
	}
	if _, err := img.Section(uki.Linux); err != nil {
		return version, fmt.Errorf("its UKI holds no kernel: %w: %w", err, ErrUnfit)
	}
	line, err := img.Text(uki.Cmdline)
	if err != nil {
		return version, fmt.Errorf("its UKI holds no kernel arguments: %w: %w", err, ErrUnfit)
	}
	if err := noneReserved(line); err != nil {
		return version, err
	}
	if !cmdline.RebootsOnPanic(line) {
		return version, fmt.Errorf("its kernel arguments %q have no panic=N, so a panic would hang for ever: %w "+
			"(build it with panic=10, or force)", line, ErrUnfit)
	}
	if unread != nil {
		return version, fmt.Errorf("its UKI's os-release cannot be read: %w: %w", unread, ErrUnfit)
	}
	return version, nil
}
