package predict

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// found are the entries that systemd-boot makes of what it finds, behind all others: of a pattern they are the last to
// match, and none of them is booted without being named.
func (b *boot) found(v *volume, self string, conf map[string]string) []entry {
	var list []entry
	add := func(id, path, ends string) {
		list = append(list, entry{id: id, loader: path, ends: ends, left: -1, done: -1, auto: true})
	}
	is := func(v *volume, path string) bool { _, err := v.open(path); return err == nil }
	if !slices.Contains(no, conf["auto-entries"]) {
		const osx, windows = "System/Library/CoreServices/boot.efi", "EFI/Microsoft/Boot/bootmgfw.efi"
		if slices.ContainsFunc(b.parts, func(p partition) bool { return b.volume(p) != nil && is(b.volume(p), osx) }) {
			add("auto-osx", osx, "")
		}
		if is(v, windows) {
			add("auto-windows", windows, "")
		}
		if shell := "shell" + b.machine().EFI + ".efi"; is(v, shell) {
			add("auto-efi-shell", shell, "")
		}
		if usual := b.machine().Removable(); is(v, usual) && !strings.EqualFold(cleanPath(self), usual) &&
			!b.isSystemdBootAt(v, usual) && !b.isSystemdBootAt(v, b.behindShim(usual)) {
			add("auto-efi-default", usual, "")
		}
	}
	if !slices.Contains(no, conf["auto-firmware"]) && b.hasSetup() {
		add("auto-reboot-to-firmware-setup", "", "restarts the machine into the firmware's setup")
	}
	if slices.Contains(yes, conf["auto-poweroff"]) {
		add("auto-poweroff", "", "switches the machine off")
	}
	if slices.Contains(yes, conf["auto-reboot"]) {
		add("auto-reboot", "", "restarts the machine for ever")
	}
	return list
}

// yes and no are how systemd-boot spells them.
var (
	yes = []string{"1", "yes", "y", "true", "t", "on"}
	no  = []string{"0", "no", "n", "false", "f", "off"}
)

// isSystemdBootAt reports whether a file is systemd-boot.
func (b *boot) isSystemdBootAt(v *volume, path string) bool {
	f, err := v.open(path)
	if err != nil {
		return false
	}
	t, err := b.take(v, f)
	if err != nil {
		return false
	}
	sections, err := loadImage(t, t.size, b.machine().Machine)
	return err == nil && isSystemdBoot(sections)
}

// hasSetup reports whether the firmware says that it can be told to show its setup. OVMF does; another firmware has
// said so, or not, before the boot.
func (b *boot) hasSetup() bool {
	v, err := b.vars.Read(efivar.Global("OsIndicationsSupported"))
	return err == nil && len(v.Data) == 8 && binary.LittleEndian.Uint64(v.Data)&1 != 0
}
