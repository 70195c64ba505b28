package upgrade

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/uki"
)

// fit looks at the UKI in slot s: that it is whole, for this machine, and that its kernel reboots after a panic, for
// else a trial that dies would hang. It returns the version that the UKI's os-release states.
func (m *Machine) fit(s bootloader.Slot, arch string) (version string, err error) {
	path := s.File(bootloader.UKIFile)
	f, err := m.Boot.Open(path)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	info, err := m.Boot.Stat(path)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	img, err := uki.Parse(f, info.Size)
	if err != nil {
		return "", fmt.Errorf("%v: %w (force writes it all the same)", err, ErrUnfit)
	}
	if img.Arch != arch {
		return "", fmt.Errorf("its UKI is for %q, the image says %q: %w", img.Arch, arch, ErrUnfit)
	}
	if _, err := img.Section(uki.Linux); err != nil {
		return "", fmt.Errorf("its UKI holds no kernel: %w: %w", err, ErrUnfit)
	}
	cmdline, err := img.Text(uki.Cmdline)
	if err != nil {
		return "", fmt.Errorf("its UKI holds no kernel arguments: %w: %w", err, ErrUnfit)
	}
	if !RebootsOnPanic(cmdline) {
		return "", fmt.Errorf("its kernel arguments %q have no panic=N, so a panic would hang for ever: %w (build it with panic=10, or force)", cmdline, ErrUnfit)
	}
	release, err := img.Release()
	if err != nil {
		return "", nil // the version is then the image's word
	}
	return release["VERSION_ID"], nil
}

// RebootsOnPanic reports whether kernel arguments make a panic end in a reboot: the last panic=N with an N that is not 0.
func RebootsOnPanic(cmdline string) bool {
	on := false
	for _, arg := range strings.Fields(cmdline) {
		if v, ok := strings.CutPrefix(arg, "panic="); ok {
			n, err := strconv.Atoi(v)
			on = err == nil && n != 0 // negative: at once
		}
	}
	return on
}
