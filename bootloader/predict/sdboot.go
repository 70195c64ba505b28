package predict

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// entry is one line of systemd-boot's menu.
type entry struct {
	id        string // the file's name in lower case
	dir, name string // where the file is, and its name as it is written
	sortKey   *string
	machineID string
	version   string
	loader    string // what is started
	initrds   []string
	kernel    bool   // it is a kernel, and gets its initramfs and arguments from the loader
	options   string // arguments
	left      int    // tries left; -1 where they are not counted
	done      int
}

// errMenu ends a boot in systemd-boot's menu.
type errMenu string

func (e errMenu) Error() string { return string(e) }

// systemdBoot does what systemd-boot 252 does, or the release that the image says, when it is started from a file on v. It returns nil and the running
// system in b.out, or the error with which systemd-boot goes back to the firmware, or an errMenu when it stays.
func (b *boot) systemdBoot(v *volume, path string, sections []section) error {
	b.out.Starts++
	b.followed = true
	volatile := func(name, value string) {
		b.setVolatile(efivar.Loader(name), efivar.EncodeString(value))
	}
	version := loaderVersion(sections)
	volatile("LoaderInfo", "systemd-boot "+version)
	prefers := compareVersions(version, "260~") >= 0
	features := uint64(1)<<11 - 1
	if prefers {
		features = 1<<22 - 1
	}
	b.setVolatile(efivar.Loader("LoaderFeatures"), binary.LittleEndian.AppendUint64(nil, features))
	volatile("LoaderImageIdentifier", "\\"+strings.ReplaceAll(path, "/", "\\"))
	volatile("LoaderDevicePartUUID", v.part.drive.GUID.String())

	conf, said := map[string]string{}, confText{}
	if f, err := v.open("loader/loader.conf"); err == nil {
		text, err := v.text(f)
		if err == nil {
			eachLine(text, func(key, value string) {
				if key == "default" && strings.HasPrefix(value, "@") && !strings.EqualFold(value, "@saved") {
					return
				}
				if _, err := strconv.ParseUint(value, 0, 64); key == "timeout" && err != nil && value != "menu-force" && value != "menu-hidden" {
					return
				}
				conf[key] = value
			})
		}
		said = confText{text, f.size, err}
		b.log("loader.conf: %v, default %q", err, conf["default"])
	} else {
		said.err = err
		b.log("no loader.conf: %v", err)
	}
	timeout := conf["timeout"]
	if s, ok := b.loaderString("LoaderConfigTimeout"); ok {
		timeout = s
	}
	menu := false // asked for, and so shown also without a time
	if s, ok := b.loaderString("LoaderConfigTimeoutOneShot"); ok {
		timeout, menu = s, true
		b.delete(efivar.Loader("LoaderConfigTimeoutOneShot"))
	}
	oneShot, armed := b.loaderString("LoaderEntryOneShot")
	if armed {
		b.delete(efivar.Loader("LoaderEntryOneShot"))
	}
	byVariable, _ := b.loaderString("LoaderEntryDefault")
	preferred, preferredConf := "", ""
	if prefers {
		preferred, _ = b.loaderString("LoaderEntryPreferred")
		preferredConf = conf["preferred"]
	}
	saved, _ := b.loaderString("LoaderEntryLastBooted")

	entries, err := b.entries(v, path)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, compareEntries)
	var ids []byte
	for _, e := range entries {
		ids = append(ids, efivar.EncodeString(e.id)...)
		b.log("entry %s, sort-key %s, version %s: %s", e.id, show(e.sortKey), e.version, e.loader)
	}
	if b.unread != nil {
		return b.unread
	}
	if endless(timeout, menu) {
		return errMenu("systemd-boot shows its menu until a person chooses")
	}
	if len(entries) == 0 {
		// The entry that is left on firmware with a setup program is "reboot into firmware interface"; the menu shows it
		// for 10 seconds and then takes it.
		return errMenu("systemd-boot finds no entry and ends in the firmware's setup")
	}
	b.setVolatile(efivar.Loader("LoaderEntries"), ids)

	useSavedVariable := strings.EqualFold(byVariable, "@saved")
	useSaved := strings.EqualFold(conf["default"], "@saved")
	patterns := [...]string{oneShot, preferred, preferredConf, byVariable, conf["default"]}
	for i, saves := range [...]bool{false, strings.EqualFold(preferred, "@saved"), strings.EqualFold(preferredConf, "@saved"), useSavedVariable, useSaved} {
		if saves {
			patterns[i] = saved
		}
	}
	chosen, by := entries[0], -1
	for at, p := range patterns {
		assessed := at == 1 || at == 2 // what is preferred is passed over once its tries are used up
		if i := slices.IndexFunc(entries, func(e entry) bool {
			return p != "" && match(strings.ToLower(p), e.id) && !(assessed && e.left == 0)
		}); i >= 0 {
			chosen, by = entries[i], at
			break
		}
	}
	b.explainChoice(chosen, by, patterns, said)
	if chosen.left >= 0 {
		if err := b.count(v, &chosen); err != nil {
			return err
		}
	}
	volatile("LoaderEntrySelected", chosen.id)
	byOneShot := armed && match(strings.ToLower(oneShot), chosen.id)
	switch {
	case strings.ToLower(oneShot) == chosen.id && armed:
	case useSavedVariable || byVariable == "" && useSaved:
		if saved != chosen.id {
			b.set(efivar.Loader("LoaderEntryLastBooted"), efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString(chosen.id)})
		}
	default:
		b.delete(efivar.Loader("LoaderEntryLastBooted"))
	}
	// All of them are read into one piece before the kernel is loaded; what is in them does not matter to the loader.
	var initrds []*taken
	for _, name := range chosen.initrds {
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
	if _, err := b.load(v, chosen.loader); err != nil {
		return fmt.Errorf("error loading %s: %w", chosen.loader, err)
	}
	b.out.Entry, b.out.Trial = chosen.id, byOneShot || chosen.left > 0
	b.out.Initrd, b.out.Cmdline = "", ""
	if chosen.kernel {
		b.out.Cmdline, b.out.Initrd = chosen.commandLine(), b.digest(initrds...)
	}
	return nil
}

// count counts a boot in the name of an entry's file. A rename that fails is passed over, and the entry boots all the same.
func (b *boot) count(v *volume, e *entry) error {
	dir, err := v.open(e.dir)
	if err != nil {
		return err
	}
	i := strings.LastIndexByte(e.name, '+')
	suffix := e.name[strings.LastIndexByte(e.name, '.'):]
	next := fmt.Sprintf("%s+%d-%d%s", e.name[:i], max(e.left-1, 0), max(e.done, 0)+1, suffix)
	err = v.rename(dir.first, e.name, next)
	b.log("count %s: %v", next, err)
	if errors.Is(err, ErrNotModelled) {
		return err
	}
	if err == nil {
		if strings.EqualFold(cleanPath(e.loader), e.dir+"/"+e.name) {
			e.loader = e.dir + "/" + next // a UKI that is its own entry
		}
		b.because("%s counts this boot: it is %s now.", e.name, next)
		b.setVolatile(efivar.Loader("LoaderBootCountPath"), efivar.EncodeString("\\"+strings.ReplaceAll(e.dir, "/", "\\")+"\\"+next))
	}
	return nil
}

// commandLine is what the kernel is given: the initramfs by its name too, for kernels that do not ask for it otherwise.
func (e entry) commandLine() string {
	var args []string
	for _, name := range e.initrds {
		args = append(args, "initrd="+strings.ReplaceAll(name, "/", `\`))
	}
	return strings.Join(append(args, e.options), " ")
}

func show(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// entries collects the entries of both kinds.
func (b *boot) entries(v *volume, self string) ([]entry, error) {
	var entries []entry
	linux, err := v.open("EFI/Linux")
	if err == nil && linux.dir {
		_ = v.list(linux.first, func(f file) bool {
			if eligible(f, ".efi") {
				if e, ok := b.unified(v, f); ok {
					entries = append(entries, e)
				}
			}
			return true
		})
	}
	dir, err := v.open("loader/entries")
	if err == nil && dir.dir {
		_ = v.list(dir.first, func(f file) bool {
			if eligible(f, ".conf") {
				if text, err := v.text(f); err != nil {
					b.log("%s: %v", f.name, err)
				} else if e, ok := configured(v, f, text, self, b.arch()); ok {
					entries = append(entries, e)
				}
			}
			return true
		})
	}
	return entries, nil
}

func eligible(f file, suffix string) bool {
	name := strings.ToLower(f.name)
	return !f.dir && !strings.HasPrefix(f.name, ".") && !strings.HasPrefix(f.name, "auto-") && strings.HasSuffix(name, suffix)
}

// configured makes an entry of a file in loader/entries. It needs a file to start, and that file must be there; what is in
// it does not matter yet.
func configured(v *volume, f file, text, self, arch string) (entry, bool) {
	e := entry{id: strings.ToLower(f.name), dir: "loader/entries", name: f.name, left: -1}
	valid := true
	eachLine(text, func(key, value string) {
		switch key {
		case "sort-key":
			e.sortKey = &value
		case "version":
			e.version = value
		case "machine-id":
			e.machineID = value
		case "linux", "efi":
			e.loader, e.kernel = value, key == "linux"
			if key == "efi" && strings.EqualFold(cleanPath(value), cleanPath(self)) {
				valid = false
			}
		case "initrd":
			e.initrds = append(e.initrds, value)
		case "options":
			e.options = strings.TrimLeft(e.options+" "+value, " ")
		case "architecture":
			valid = valid && value == map[string]string{"amd64": "x64", "arm64": "aa64"}[arch]
		}
	})
	if !valid || e.loader == "" {
		return entry{}, false
	}
	if _, err := v.open(e.loader); err != nil {
		return entry{}, false
	}
	e.left, e.done = tries(f.name, ".conf")
	return e, true
}

// unified makes an entry of an image in EFI/Linux, from the os-release inside it.
func (b *boot) unified(v *volume, f file) (entry, bool) {
	t, err := b.take(v, f)
	if err != nil {
		return entry{}, false
	}
	// systemd-boot looks for the section alone, and does not check what the firmware will check.
	sections, err := loadImage(t, t.size, b.machine())
	if err != nil {
		return entry{}, false
	}
	release := map[string]string{}
	text, _, _ := strings.Cut(string(find(sections, ".osrel")), "\x00")
	splitLines(text, "=", func(key, value string) { release[key] = value })
	first := func(keys ...string) string {
		for _, k := range keys {
			if release[k] != "" {
				return release[k]
			}
		}
		return ""
	}
	if first("PRETTY_NAME", "IMAGE_ID", "NAME", "ID") == "" {
		return entry{}, false
	}
	key := first("IMAGE_ID", "ID")
	e := entry{id: strings.ToLower(f.name), dir: "EFI/Linux", name: f.name, sortKey: &key, loader: "EFI/Linux/" + f.name}
	e.version = first("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")
	e.left, e.done = tries(f.name, ".efi")
	return e, true
}

// tries reads "+left-done" before the suffix.
func tries(name, suffix string) (left, done int) {
	i := strings.LastIndexByte(name, '+')
	if i < 0 {
		return -1, -1
	}
	counter, found := strings.CutSuffix(name[i+1:], suffix)
	if !found {
		return -1, -1
	}
	a, b, both := strings.Cut(counter, "-")
	left, err := strconv.Atoi(a)
	if err != nil || left < 0 {
		return -1, -1
	}
	if both {
		if done, err = strconv.Atoi(b); err != nil || done < 0 {
			return -1, -1
		}
	}
	return left, done
}

// compareEntries puts what boots by itself first.
func compareEntries(a, b entry) int {
	less := func(x, y bool) int { // false first
		if x == y {
			return 0
		} else if y {
			return -1
		}
		return 1
	}
	if r := less(a.left == 0, b.left == 0); r != 0 {
		return r
	}
	if r := less(a.sortKey == nil, b.sortKey == nil); r != 0 {
		return r
	}
	if a.sortKey != nil && b.sortKey != nil {
		if r := cmp.Or(cmp.Compare(*a.sortKey, *b.sortKey), cmp.Compare(a.machineID, b.machineID), -compareVersions(a.version, b.version)); r != 0 {
			return r
		}
	}
	if r := -compareVersions(a.id, b.id); r != 0 || a.left < 0 || b.left < 0 {
		return r
	}
	return cmp.Or(-cmp.Compare(a.left, b.left), cmp.Compare(a.done, b.done))
}

// eachLine walks a configuration file as systemd-boot does.
func eachLine(text string, visit func(key, value string)) { splitLines(text, " \t", visit) }

func splitLines(text, separators string, visit func(key, value string)) {
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.Trim(line, " \t")
		i := strings.IndexAny(line, separators)
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		value := strings.TrimLeft(line[i:], separators)
		if len(value) >= 1 && value[0] == '"' && line[len(line)-1] == '"' {
			value = strings.TrimSuffix(value[1:], `"`)
		}
		visit(line[:i], value)
	}
}

func cleanPath(p string) string {
	return strings.Join(strings.FieldsFunc(p, func(r rune) bool { return r == '/' || r == '\\' }), "/")
}

// loaderString reads a variable of the loader. One that is no string is passed over.
func (b *boot) loaderString(name string) (string, bool) {
	v, ok := b.read(efivar.Loader(name))
	if !ok {
		return "", false
	}
	s, err := efivar.DecodeString(v.Data)
	return s, err == nil
}

// loaderVersion is what the image says of itself.
func loaderVersion(sections []section) string {
	text, _, _ := strings.Cut(string(find(sections, ".sdmagic")), "\x00")
	return strings.TrimSuffix(strings.TrimPrefix(text, sdMagic), " ####")
}

// endless reports whether the menu is shown until a person chooses. Without a time it is not shown, unless it was asked for.
func endless(timeout string, menu bool) bool {
	seconds, err := strconv.ParseUint(timeout, 0, 64)
	switch {
	case timeout == "menu-force", errors.Is(err, strconv.ErrRange), err == nil && seconds >= math.MaxUint32:
		return true
	}
	return menu && (timeout == "menu-hidden" || err == nil && seconds == 0)
}
