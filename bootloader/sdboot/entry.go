package sdboot

import (
	"bytes"
	"fmt"
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
	for _, s := range bootloader.Slots {
		if name+".conf" == entryID(s) {
			return s
		}
	}
	return bootloader.None
}

// slotEntry is what an entry file of ours says. Entries that start a kernel and an initrd come with their own lines.
type slotEntry struct {
	title, version, sortKey string
	efi                     string // path with slashes and a leading one
	bootable                bool   // it starts the file of its own slot, and that file is there
}

func entryFor(s bootloader.Slot, m bootloader.Manifest, title, sortKey string) slotEntry {
	return slotEntry{title: title, version: m.Version, sortKey: sortKey, efi: "/" + s.File(bootloader.UKIFile)}
}

func encodeEntry(e slotEntry) ([]byte, error) {
	text := fmt.Sprintf("title %s\nversion %s\nsort-key %s\nefi %s\n", e.title, e.version, e.sortKey, e.efi)
	if len(text) > sectorSize {
		return nil, fmt.Errorf("an entry of %d bytes does not fit a sector of %d: shorten title or version", len(text), sectorSize)
	}
	for _, value := range []string{e.title, e.version, e.sortKey} {
		if value != strings.TrimSpace(value) || value == "" || strings.ContainsAny(value, "\r\n\x00\"") {
			return nil, fmt.Errorf("%q cannot be written in an entry", value)
		}
	}
	return pad(text), nil
}

// decodeEntry reads an entry file. ok is false for one that is empty or was destroyed.
func decodeEntry(data []byte) (e slotEntry, ok bool) {
	eachLine(data, func(key, value string) {
		switch key {
		case "title":
			e.title = value
		case "version":
			e.version = value
		case "sort-key":
			e.sortKey = value
		case "efi":
			e.efi = value
		}
	})
	return e, e.title != "" && e.version != "" && e.sortKey != "" && e.efi != ""
}

// conf is what loader.conf says.
type conf struct {
	defaultID string // in lower case; "" when it names none
	timeout   int
}

func (c conf) slot() bootloader.Slot {
	if s := slotOf(c.defaultID); s != bootloader.None && c.defaultID == entryID(s) {
		return s
	}
	return bootloader.None
}

func encodeConf(c conf) []byte {
	text := fmt.Sprintf("timeout %d\n", c.timeout)
	if c.defaultID != "" {
		text = "default " + c.defaultID + "\n" + text
	}
	return pad(text)
}

// decodeConf reads loader.conf. whole is false when there is anything in it that is not ours, or less than we write:
// then it was destroyed, or edited.
func decodeConf(data []byte) (c conf, whole bool) {
	timed := false
	eachLine(data, func(key, value string) {
		switch key {
		case "default":
			c.defaultID = strings.ToLower(value)
		case "timeout":
			n, err := strconv.Atoi(value)
			c.timeout, timed = n, err == nil && n >= 0
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
			visit(line[:i], strings.TrimLeft(line[i:], " \t"))
		}
	}
}

func empty() []byte { return pad("") }

func pad(text string) []byte {
	return append([]byte(text), bytes.Repeat([]byte{'\n'}, sectorSize-len(text))...)
}
