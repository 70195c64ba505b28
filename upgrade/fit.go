package upgrade

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
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
	if _, ok := m.Loader.(entries); ok {
		err = fitProgram(f, arch)
	} else {
		err = fitBzImage(f, arch)
	}
	if err != nil {
		return "", err
	}
	return "", m.fitArguments(s)
}

// fitLoader looks at the loader that slot s holds beside its system. One for other machines is refused whatever is forced: nothing
// would start any more once it was installed.
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

// fitProgram looks at a kernel that firmware is to start: that it is a whole program for this machine.
func fitProgram(f *bootfs.File, arch string) error {
	img, err := uki.Parse(f, f.Size())
	if err != nil {
		return fmt.Errorf("its kernel is no EFI program: %v: %w (build it with CONFIG_EFI_STUB, or force)", err, ErrUnfit)
	}
	if img.Arch != arch {
		return fmt.Errorf("its kernel is for %q, the image says %q: %w", img.Arch, arch, ErrUnfit)
	}
	return nil
}

// fitBzImage looks at a kernel that GRUB is to start: that it is one for this machine and as long as it says, since GRUB
// starts one that is cut short.
func fitBzImage(f *bootfs.File, arch string) error {
	header := make([]byte, 0x264) // Documentation/arch/x86/boot.rst
	if _, err := io.ReadFull(f, header); err != nil || string(header[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(header[0x1fe:]) != 0xaa55 {
		return fmt.Errorf("its kernel is no bzImage: %w (force writes it all the same)", ErrUnfit)
	}
	if arch != "amd64" {
		return fmt.Errorf("its kernel is for amd64, the image says %q: %w", arch, ErrUnfit)
	}
	setup := int64(header[0x1f1])
	if setup == 0 {
		setup = 4
	}
	if size := (setup+1)*512 + 16*int64(binary.LittleEndian.Uint32(header[0x1f4:])); f.Size() < size {
		return fmt.Errorf("its kernel has %d bytes and says that it has %d: %w (force writes it all the same)", f.Size(), size, ErrUnfit)
	}
	return nil
}

// fitArguments looks at a kernel's arguments: loaders give panic=N where they say nothing, but not against what they say.
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
		return fmt.Errorf("its kernel arguments %q say that a panic hangs for ever: %w (build it with panic=10, or force)", line, ErrUnfit)
	}
	return nil
}

// fitEntry refuses arguments that the loader could not write into the slot's entry. Force does not help.
func (m *Machine) fitEntry(s bootloader.Slot, version string) error {
	l, ok := m.Loader.(entries)
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

// reserved are the kernel arguments by which a boot says what it is. An image that had them would be taken for another slot, also
// behind a "--" by an older reader.
var reserved = []string{"pawl.slot", "pawl.start", "pawl.boot", "pawl.canary", "pawl.failed"}

func noneReserved(line string) error {
	for _, a := range cmdline.Split(line) {
		if slices.Contains(reserved, a.Name) {
			return fmt.Errorf("its kernel argument %s %w (leave it out of the image)", a.Raw, errReserved)
		}
	}
	return nil
}

// errReserved is of an image that force does not help.
var errReserved = fmt.Errorf("is Pawl's own: %w", ErrUnfit)

// fitUKI looks at a UKI of size bytes: that it is whole, for this machine, and that its kernel reboots after a panic, for
// else a trial that dies would hang. It returns the version that the UKI's os-release states.
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
	if !RebootsOnPanic(line) {
		return version, fmt.Errorf("its kernel arguments %q have no panic=N, so a panic would hang for ever: %w (build it with panic=10, or force)", line, ErrUnfit)
	}
	if unread != nil {
		return version, fmt.Errorf("its UKI's os-release cannot be read: %w: %w", unread, ErrUnfit)
	}
	return version, nil
}

// RebootsOnPanic reports whether kernel arguments make a panic end in a reboot.
func RebootsOnPanic(line string) bool {
	seconds, _ := cmdline.Panic(line)
	return seconds != 0 // negative: at once
}
