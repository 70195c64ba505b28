package predict

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// errMenu ends a boot in systemd-boot's menu.
type errMenu string

func (e errMenu) Error() string { return string(e) }

// systemdBoot does what systemd-boot 252 does, or the release that the image says, when it is started from a file on v.
// It returns nil and the running system in b.out, or the error with which systemd-boot goes back to the firmware, or an
// errMenu when it stays.
func (b *boot) systemdBoot(v *volume, path string, sections []section) error {
	b.out.Starts++
	b.followed = true
	version := loaderVersion(sections)
	b.introduce(v, path, version)
	conf, said := b.loaderConf(v)
	b.enrolls(v, conf)
	s := b.settings(conf, version)
	entries, err := b.entries(v, path, version)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, compareEntries)
	entries = append(entries, b.found(v, path, conf)...)
	var ids []byte
	for _, e := range entries {
		ids = append(ids, efivar.EncodeString(e.id)...)
		b.log("entry %s, sort-key %s, version %s: %s", e.id, show(e.sortKey), e.version, e.loader)
	}
	if b.unread != nil {
		return b.unread
	}
	if endless(s.timeout, s.menu) {
		return errMenu("systemd-boot shows its menu until a person chooses")
	}
	if len(entries) == 0 {
		return errMenu("systemd-boot finds no entry and shows that")
	}
	b.setVolatile(efivar.Loader("LoaderEntries"), ids)
	chosen, by := s.choose(entries)
	if by < 0 && chosen.ends != "" { // the menu shows it for 10 seconds and then takes it
		return errMenu("systemd-boot finds no entry and ends in the firmware's setup")
	}
	b.explainChoice(chosen, by, s.patterns(), said)
	if chosen.ends != "" {
		return errMenu("systemd-boot " + chosen.ends)
	}
	if chosen.left >= 0 && !chosen.constant {
		if err := b.count(v, &chosen); err != nil {
			return err
		}
	}
	b.setVolatile(efivar.Loader("LoaderEntrySelected"), efivar.EncodeString(chosen.id))
	b.save(s, chosen)
	if err := b.startEntry(v, chosen); err != nil {
		return err
	}
	b.out.Entry, b.out.Trial = chosen.id, s.armed && match(strings.ToLower(s.oneShot), chosen.id) ||
		chosen.left > 0 && !chosen.constant
	return nil
}

// introduce leaves the variables by which systemd-boot says what it is.
func (b *boot) introduce(v *volume, path, version string) {
	volatile := func(name, value string) { b.setVolatile(efivar.Loader(name), efivar.EncodeString(value)) }
	volatile("LoaderInfo", "systemd-boot "+version)
	features := uint64(1)<<11 - 1
	if compareVersions(version, preferring) >= 0 {
		features = 1<<22 - 1
	}
	b.setVolatile(efivar.Loader("LoaderFeatures"), binary.LittleEndian.AppendUint64(nil, features))
	volatile("LoaderImageIdentifier", "\\"+strings.ReplaceAll(path, "/", "\\"))
	volatile("LoaderDevicePartUUID", v.part.drive.GUID.String())
}

// loaderConf reads loader.conf, without what systemd-boot passes over in it.
func (b *boot) loaderConf(v *volume) (conf map[string]string, said confText) {
	conf = map[string]string{}
	f, err := v.open("loader/loader.conf")
	if err != nil {
		b.log("no loader.conf: %v", err)
		return conf, confText{err: err}
	}
	text, err := v.text(f)
	if err == nil {
		eachLine(text, func(key, value string) {
			if key == "default" && strings.HasPrefix(value, "@") && !strings.EqualFold(value, "@saved") {
				return
			}
			if _, err := strconv.ParseUint(value, 10, 32); key == "timeout" && err != nil && value != "menu-force" &&
				value != "menu-hidden" {
				return
			}
			conf[key] = value
		})
	}
	b.log("loader.conf: %v, default %q", err, conf["default"])
	return conf, confText{text, f.size, err}
}

// settings are what systemd-boot chooses by: patterns of entries' names, each of which may be "@saved".
type settings struct {
	timeout                  string
	menu                     bool // asked for, and so shown also without a time
	oneShot                  string
	armed                    bool // there is a oneShot
	preferred, preferredConf string
	byVariable, byConf       string
	saved                    string // what was booted last
}

// settings reads them, and uses up those that are for one boot.
func (b *boot) settings(conf map[string]string, version string) settings {
	s := settings{timeout: conf["timeout"], byConf: conf["default"]}
	if t, ok := b.loaderString("LoaderConfigTimeout", version); ok {
		s.timeout = t
	}
	if t, ok := b.loaderString("LoaderConfigTimeoutOneShot", version); ok {
		s.timeout, s.menu = t, true
		b.delete(efivar.Loader("LoaderConfigTimeoutOneShot"))
	}
	if s.oneShot, s.armed = b.loaderString("LoaderEntryOneShot", version); s.armed {
		b.delete(efivar.Loader("LoaderEntryOneShot"))
	}
	s.byVariable, _ = b.loaderString("LoaderEntryDefault", version)
	if compareVersions(version, preferring) >= 0 {
		s.preferred, _ = b.loaderString("LoaderEntryPreferred", version)
		s.preferredConf = conf["preferred"]
	}
	s.saved, _ = b.loaderString("LoaderEntryLastBooted", version)
	return s
}

// patterns are those that may choose, the first that fits.
func (s settings) patterns() [5]string {
	all := [...]string{s.oneShot, s.preferred, s.preferredConf, s.byVariable, s.byConf}
	for i := 1; i < len(all); i++ {
		if strings.EqualFold(all[i], "@saved") {
			all[i] = s.saved
		}
	}
	return all
}

// choose returns the entry that is booted, and which of the patterns chose it, -1 for none.
func (s settings) choose(entries []entry) (chosen entry, by int) {
	for at, p := range s.patterns() {
		assessed := at == 1 || at == 2 // what is preferred is passed over once its tries are used up
		if i := slices.IndexFunc(entries, func(e entry) bool {
			return p != "" && match(strings.ToLower(p), e.id) && !(assessed && e.left == 0)
		}); i >= 0 {
			return entries[i], at
		}
	}
	first := slices.IndexFunc(entries, func(e entry) bool { return !e.auto })
	return entries[max(first, 0)], -1
}

// save keeps what is booted where that is asked for, and forgets it elsewhere. A one-shot changes nothing.
func (b *boot) save(s settings, chosen entry) {
	last := efivar.Loader("LoaderEntryLastBooted")
	switch {
	case strings.ToLower(s.oneShot) == chosen.id && s.armed:
	case strings.EqualFold(s.byVariable, "@saved") || s.byVariable == "" && strings.EqualFold(s.byConf, "@saved"):
		if s.saved != chosen.id {
			b.set(last, efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString(chosen.id)})
		}
	default:
		b.delete(last)
	}
}

// startEntry loads an entry's files. All of its initrds are read into one piece before the kernel is loaded; what is in
// them does not matter to the loader.
func (b *boot) startEntry(v *volume, e entry) error {
	if e.url || e.devicetree && b.machine().DeviceTree {
		return fmt.Errorf("entry %s, with a URL or a device tree: %w", e.id, ErrNotModelled)
	}
	var initrds []*taken
	for _, name := range e.initrds {
		if !e.kernel {
			break // its initramfs is inside
		}
		f, err := v.open(name)
		var t *taken
		if err == nil {
			t, err = b.take(v, f)
		}
		if err != nil {
			return fmt.Errorf("error preparing initrd: %w", err)
		}
		initrds = append(initrds, t)
	}
	if _, err := b.load(v, e.loader); err != nil {
		return fmt.Errorf("error loading %s: %w", e.loader, err)
	}
	if e.devicetree && !b.trusts.Checks() { // there, it is passed over
		return fmt.Errorf("error loading its device tree: the firmware has none")
	}
	b.out.Initrd, b.out.Cmdline = "", ""
	if e.kernel && (e.options != "" || len(e.initrds) > 0) { // else it is a UKI, which has its own inside
		b.out.Cmdline, b.out.Initrd = e.commandLine(), b.digest(initrds...)
	}
	return nil
}
