package sdboot

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// sectorSize is the length of every file that is overwritten in place.
const sectorSize = 512

// Sort keys: systemd-boot puts the lowest first, and boots the first when nothing is named.
const (
	provenKey  = "0"
	untriedKey = "9"
)

// behind is a sort key that sorts behind the default's.
func behind(key string) string {
	if key < untriedKey {
		return untriedKey
	}
	return key + untriedKey
}

const (
	confPath   = "loader/loader.conf"
	entriesDir = "loader/entries"
)

// entryID is how systemd-boot calls the slot's entry: the file's name.
func entryID(s bootloader.Slot) string { return "pawl-" + strings.ToLower(string(s)) + ".conf" }

func entryPath(s bootloader.Slot) string { return entriesDir + "/" + entryID(s) }

// slotOf is the slot of an entry's id; None when it is not ours. A counter ("pawl-b+3-1.conf") is taken off.
func slotOf(id string) bootloader.Slot {
	name, found := strings.CutSuffix(strings.ToLower(id), ".conf")
	if !found {
		return bootloader.None
	}
	if i := strings.LastIndexByte(name, '+'); i >= 0 && strings.Trim(name[i+1:], "0123456789-") == "" {
		name = name[:i]
	}
	for _, s := range bootloader.Slots() {
		if name+".conf" == entryID(s) {
			return s
		}
	}
	return bootloader.None
}

// slotEntry is what an entry file of ours says: that it starts a UKI, or a kernel with its initramfs and arguments.
// Paths have slashes and a leading one.
type slotEntry struct {
	title, version, sortKey string
	efi                     string
	linux, initrd, options  string
	machines                string // each that it is for, a line each; none: all
	ways                    string // in which it names what it starts: the keys, with spaces
	edited                  bool   // it is not one sector any more, so it cannot be overwritten in place
	bootable                bool   // it starts the files of its own slot, and they are there
}

// entryFor is the entry of a slot that holds a UKI, or else of its kernel with these arguments.
func entryFor(s bootloader.Slot, m bootloader.Manifest, title, sortKey, options string) slotEntry {
	e := slotEntry{title: title, version: m.Version, sortKey: sortKey}
	if m.Holds(bootloader.UKIFile) {
		e.efi = "/" + s.File(bootloader.UKIFile)
	} else {
		e.linux, e.initrd, e.options = "/"+s.File(bootloader.KernelFile), "/"+s.File(bootloader.InitrdFile), options
	}
	return e
}

// files are what it starts.
func (e slotEntry) files() []string {
	if e.efi != "" {
		return []string{e.efi}
	}
	return []string{e.linux, e.initrd}
}

// ofSlot reports whether it starts the files of the slot and no other, as the loader takes a path: either slash, one
// or several, either case.
func (e slotEntry) ofSlot(s bootloader.Slot) bool {
	is := func(path, name string) bool { return strings.EqualFold(cleanPath(path), s.File(name)) }
	return is(e.efi, bootloader.UKIFile) || e.efi == "" && is(e.linux, bootloader.KernelFile) &&
		is(e.initrd, bootloader.InitrdFile)
}

func cleanPath(path string) string {
	return strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), "/")
}

// uniting is the release from which on a loader knows the key uki, and passes over an entry that names what it starts
// in two ways.
const uniting = 258

// hidden says why the loader passes over an entry that starts something; "" when it does not. machine is its own.
func (e slotEntry) hidden(machine string, loader probed) string {
	for m := range strings.Lines(e.machines) {
		if m = strings.TrimSuffix(m, "\n"); !strings.EqualFold(m, machine) {
			return fmt.Sprintf("is for machines of architecture %s, and the loader is for %s", short(m), machine)
		}
	}
	if strings.Contains(e.ways, " ") && loader.since(uniting) {
		return "names what it starts in two ways"
	}
	return ""
}

func (e slotEntry) text() string {
	text := fmt.Sprintf("title %s\nversion %s\nsort-key %s\n", e.title, e.version, e.sortKey)
	if e.efi != "" {
		return text + fmt.Sprintf("efi %s\n", e.efi)
	}
	if e.initrd == "" {
		return text + fmt.Sprintf("linux %s\n", e.linux)
	}
	return text + fmt.Sprintf("linux %s\ninitrd %s\noptions %s\n", e.linux, e.initrd, e.options)
}

func encodeEntry(e slotEntry) ([]byte, error) {
	text := e.text()
	if len(text) > sectorSize {
		return nil, fmt.Errorf("an entry of %d bytes does not fit a sector of %d: shorten the version or the "+
			"kernel's arguments", len(text), sectorSize)
	}
	for _, value := range []string{e.title, e.version, e.sortKey} {
		if value != strings.TrimSpace(value) || value == "" || strings.ContainsAny(value, "\r\n\x00\"") {
			return nil, fmt.Errorf("%q cannot be written in an entry", value)
		}
	}
	for _, value := range []string{e.efi, e.linux, e.initrd, e.options} {
		if strings.HasPrefix(value, `"`) { // the loader would take the quotes off
			return nil, fmt.Errorf("%q cannot be written in an entry", value)
		}
	}
	return pad(text), nil
}

// order is what the entry sorts by: one without a key comes behind all that have one.
func (e slotEntry) order() string {
	if e.sortKey == "" {
		return "\xff"
	}
	return e.sortKey
}

// decodeEntry reads an entry file. ok is false for one that starts nothing, such as one that is empty or was destroyed:
// systemd-boot needs no title, version or sort-key to boot it.
func decodeEntry(data []byte) (e slotEntry, ok bool) {
	eachLine(data, func(key, value string) {
		switch key {
		case "efi", "linux", "uki", "uki-url":
			if !slices.Contains(strings.Fields(e.ways), key) {
				e.ways = strings.TrimLeft(e.ways+" "+key, " ")
			}
		}
		switch key {
		case "title":
			e.title = value
		case "version":
			e.version = value
		case "sort-key":
			e.sortKey = value
		case "efi": // the last one counts
			e.efi, e.linux = value, ""
		case "linux":
			e.efi, e.linux = "", value
		case "initrd": // all of them, one behind the other
			e.initrd = strings.TrimLeft(e.initrd+" "+value, " ")
		case "options":
			e.options = strings.TrimLeft(e.options+" "+value, " ")
		case "architecture":
			e.machines += value + "\n"
		}
	})
	if e.initrd == "" && e.options == "" && e.linux != "" { // a program that is given nothing starts alike by either key
		e.efi, e.linux = e.linux, ""
	}
	return e, e.efi != "" || e.linux != "" && e.initrd != "" && e.options != ""
}

// conf is what loader.conf says.
type conf struct {
	defaultID   string // in lower case; "" when it names none
	preferredID string // outranks it, in lower case; "" when it names none. Never written by us
	counts      bool   // the default is in a comment, and the order of the entries decides: see Counting
	timeout     int
	enroll      bool // keys for Secure Boot are enrolled where the firmware has none
}

// commented begins the line of a default that is not to be followed.
const commented = "# "

func (c conf) slot() bootloader.Slot {
	if s := slotOf(c.defaultID); s != bootloader.None && c.defaultID == entryID(s) {
		return s
	}
	return bootloader.None
}

func encodeConf(c conf) []byte {
	text := fmt.Sprintf("timeout %d\n", c.timeout)
	if c.enroll {
		text += "secure-boot-enroll force\n"
	}
	if c.defaultID != "" {
		text = "default " + c.defaultID + "\n" + text
	}
	if c.counts {
		text = commented + text
	}
	return pad(text)
}

// decodeConf reads loader.conf. whole is false when there is anything in it that is not ours, or less than we write:
// then it was destroyed, or edited.
func decodeConf(data []byte) (c conf, whole bool) {
	if rest, ok := bytes.CutPrefix(data, []byte(commented)); ok {
		c, _ = decodeConf(rest)
		c.counts = true
		return c, len(data) == sectorSize && bytes.Equal(encodeConf(c), data)
	}
	timed := false
	eachLine(data, func(key, value string) {
		switch key {
		case "default":
			if strings.HasPrefix(value, "@") && !strings.EqualFold(value, saved) {
				return // the loader passes it over
			}
			c.defaultID = strings.ToLower(value)
		case "preferred":
			c.preferredID = strings.ToLower(value)
		case "timeout":
			n, err := strconv.Atoi(value)
			c.timeout, timed = n, err == nil && n >= 0
		case "secure-boot-enroll":
			c.enroll = value == "force"
		}
	})
	return c, timed && len(data) == sectorSize && bytes.Equal(encodeConf(c), data)
}

// eachLine walks a file as systemd-boot does: up to the first NUL, without comments.
func eachLine(data []byte, visit func(key, value string)) {
	data, _, _ = bytes.Cut(data, []byte{0})
	for _, line := range strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.Trim(line, " \t")
		if i := strings.IndexAny(line, " \t"); i > 0 && line[0] != '#' {
			value := strings.TrimLeft(line[i:], " \t")
			if value[0] == '"' && line[len(line)-1] == '"' {
				value = strings.TrimSuffix(value[1:], `"`)
			}
			visit(line[:i], value)
		}
	}
}

func empty() []byte { return pad("") }

func pad(text string) []byte {
	return append([]byte(text), bytes.Repeat([]byte{'\n'}, sectorSize-len(text))...)
}
