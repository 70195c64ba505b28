package sdboot

import (
	"errors"
	"path"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// saved is a setting in place of an entry's name: what was booted last.
const saved = "@saved"

// pattern reports whether the loader may take an id for more than the name of one entry.
func pattern(id string) bool { return strings.ContainsAny(id, "*?[\\@") }

// names reports whether a default from a loader.conf that we did not write is one that systemd-boot may follow.
func (l *Loader) names(id string) bool {
	return id != "" && slotOf(id) == bootloader.None && (pattern(id) || l.listed(id))
}

// listed reports whether an entry of that id is there that is not ours, or may come: another program's, or one that the
// loader makes of what it finds.
func (l *Loader) listed(id string) bool {
	for _, dir := range []string{entriesDir, "EFI/Linux"} {
		if id != "" && !strings.ContainsAny(id, "/\\") {
			if _, err := l.FS.Stat(dir + "/" + id); err == nil {
				return true
			}
		}
	}
	return strings.HasPrefix(strings.ToLower(id), autoPrefix)
}

// autoPrefix begins the ids of the entries that the loader makes by itself.
const autoPrefix = "auto-"

// picks returns the slot that a name or a pattern picks, of the entries that are there, as the loader does: the first
// in order that it fits. found is false where it fits none. The slot is None where another program's entry may be what
// it picks, or where that is not known.
func (l *Loader) picks(d *disk, name string) (s bootloader.Slot, found bool, err error) {
	name = strings.ToLower(name)
	if name == saved {
		last, _, err := l.text(entryLast)
		switch {
		case errors.Is(err, efivar.ErrFormat):
			return bootloader.None, false, nil
		case err != nil:
			return bootloader.None, true, nil
		}
		if name = strings.ToLower(last); name == saved {
			return bootloader.None, false, nil // no entry is called so
		}
	}
	if stranger, err := l.stranger(d, name); err != nil || stranger != "" {
		return bootloader.None, true, err
	}
	for _, slot := range bootloader.Slots() {
		fits, known := fits(name, entryID(slot))
		switch {
		case !known:
			return bootloader.None, true, nil
		case !fits || !d.entries[slot].bootable:
		case s != bootloader.None:
			return d.first(), true, nil
		default:
			s = slot
		}
	}
	return s, s != bootloader.None || l.finds(d, name), nil
}

// finds reports whether a pattern fits an entry that the loader makes by itself, behind all others.
func (l *Loader) finds(d *disk, name string) bool {
	for id, there := range l.auto(d) {
		if fits, known := fits(name, autoPrefix+id); there && (fits || !known) {
			return true
		}
	}
	return false
}

// auto are the entries that the loader may make by itself, and whether what they are made of is there. What other disks
// hold is not looked at.
func (l *Loader) auto(d *disk) map[string]bool {
	has := func(path string) bool { _, err := l.FS.Stat(path); return err == nil }
	can, err := l.vars.Read(efivar.Global("OsIndicationsSupported"))
	return map[string]bool{
		"windows":     has("EFI/Microsoft/Boot/bootmgfw.efi"),
		"osx":         has("System/Library/CoreServices/boot.efi"),
		"efi-shell":   has("shell" + l.machineName() + ".efi"),
		"efi-default": has(l.loaderPath()) && d.loader.installed == "",
		"reboot-to-firmware-setup": err != nil && !missing(err) || len(can.Data) > 0 && can.Data[0]&1 != 0 ||
			err == nil && len(can.Data) == 0,
		"poweroff": !d.confWhole, // where loader.conf says so
		"reboot":   !d.confWhole,
	}
}

// fits reports whether a pattern in lower case fits an id. known is false for a pattern that is too odd to tell.
func fits(pattern, id string) (fits, known bool) {
	fits, err := path.Match(pattern, id)
	return fits, err == nil && !strings.Contains(pattern, "[^")
}

// stranger is the path of an entry whose id fits a pattern and that is not ours, "" when there is none. One of ours
// whose tries are counted is none either, but for while it is filled.
func (l *Loader) stranger(d *disk, pattern string) (string, error) {
	for _, kind := range [][2]string{{entriesDir, ".conf"}, {"EFI/Linux", ".efi"}} {
		files, err := l.FS.ReadDir(kind[0])
		if err != nil && !missing(err) {
			return "", err
		}
		for _, f := range files {
			name := strings.ToLower(f.Name)
			if f.Dir || strings.HasPrefix(name, ".") || strings.HasPrefix(f.Name, autoPrefix) ||
				!strings.HasSuffix(name, kind[1]) || slotOf(name) != bootloader.None && !(pattern != "*" && d.fills(f.Name)) {
				continue
			}
			if fits, known := fits(pattern, name); fits || !known {
				return kind[0] + "/" + f.Name, nil
			}
		}
	}
	return "", nil
}

// fills reports whether a file is a counted entry that is there for the loader.
func (d *disk) fills(name string) bool {
	for _, c := range d.counted {
		if c.name == name && c.filled {
			return true
		}
	}
	return false
}
