package upgrade

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
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
	if got := img.Arch(); got != arch {
		return "", fmt.Errorf("its UKI is for %s, the image says %s: %w", got, arch, ErrUnfit)
	}
	if img.Section(".linux") == nil {
		return "", fmt.Errorf("its UKI holds no kernel (no .linux section): %w", ErrUnfit)
	}
	cmdline, err := section(img, ".cmdline")
	if err != nil {
		return "", err
	}
	if !panics(cmdline) {
		return "", fmt.Errorf("its kernel arguments %q have no panic=N, so a panic would hang for ever: %w (build it with panic=10, or force)", cmdline, ErrUnfit)
	}
	release, err := section(img, ".osrel")
	if err != nil {
		return "", err
	}
	return OSRelease([]byte(release))["VERSION_ID"], nil
}

// section reads a small text section; a missing one is empty.
func section(img *uki.Image, name string) (string, error) {
	r := img.Section(name)
	if r == nil {
		return "", nil
	}
	data, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read section %s of the UKI: %w", name, err)
	}
	return strings.TrimRight(string(data), "\x00\n "), nil
}

// panics reports whether kernel arguments make a panic end in a reboot.
func panics(cmdline string) bool {
	on := false
	for _, arg := range strings.Fields(cmdline) {
		if v, ok := strings.CutPrefix(arg, "panic="); ok {
			n, err := strconv.Atoi(v)
			on = err == nil && n != 0 // negative: at once
		}
	}
	return on
}

// OSRelease decodes an os-release file (freedesktop.org, os-release(5)): the value of each key, without quotes.
func OSRelease(data []byte) map[string]string {
	values := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		values[key] = value
	}
	return values
}
