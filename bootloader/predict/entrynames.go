package predict

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

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
		if r := cmp.Or(cmp.Compare(*a.sortKey, *b.sortKey), cmp.Compare(a.machineID, b.machineID),
			-compareVersions(a.version, b.version)); r != 0 {
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

// preferring is the release of systemd-boot that brought LoaderEntryPreferred; unclipped is the first that reads all of
// a variable that does not end with a NUL.
const preferring, unclipped = "260~", "261~"

// loaderString reads a variable of the loader. One that is no string is passed over. Of one that does not end with a
// NUL, releases before unclipped overwrite the last character with it (seen with 252; 262 does not).
func (b *boot) loaderString(name, version string) (string, bool) {
	v, ok := b.read(efivar.Loader(name))
	if !ok {
		return "", false
	}
	if n := len(v.Data); n >= 2 && n%2 == 0 && (v.Data[n-2] != 0 || v.Data[n-1] != 0) &&
		compareVersions(version, unclipped) < 0 {
		v.Data = v.Data[:n-2]
	}
	s, err := efivar.DecodeString(v.Data)
	return s, err == nil
}

// loaderVersion is what the image says of itself.
func loaderVersion(sections []section) string {
	text, _, _ := strings.Cut(magic(sections), "\x00")
	return strings.TrimSuffix(strings.TrimPrefix(text, sdMagic), " ####")
}

// endless reports whether the menu is shown until a person chooses. Without a time it is not shown, unless it was asked
// for.
func endless(timeout string, menu bool) bool {
	seconds, err := strconv.ParseUint(timeout, 10, 64)
	switch {
	case timeout == "menu-force", errors.Is(err, strconv.ErrRange), err == nil && seconds >= math.MaxUint32:
		return true
	}
	return menu && (timeout == "menu-hidden" || err == nil && seconds == 0)
}
