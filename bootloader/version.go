package bootloader

import (
	"errors"
	"fmt"
	"strings"
)

// MaxVersion is how many characters a version may have.
const MaxVersion = 128

// ErrVersion is returned for text that cannot be the version of a system. Do: build the system, or the image, with
// another one.
var ErrVersion = errors.New("not a version")

// CheckVersion refuses, with [ErrVersion], what cannot be the version of a system: it has 1 to 128 characters, letters
// and digits of ASCII and any of ". _ + - ~ : ^", and begins with a letter or a digit. So a version can be printed
// anywhere, can stand in a line of a configuration file, and has room in every record.
func CheckVersion(version string) error {
	isPlain := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	switch {
	case version == "":
		return fmt.Errorf("version: it is empty: %w", ErrVersion)
	case len(version) > MaxVersion:
		return fmt.Errorf("version %.32q...: it has %d bytes, want at most %d: %w", version, len(version), MaxVersion,
			ErrVersion)
	case !isPlain(rune(version[0])) || strings.ContainsFunc(version, func(r rune) bool {
		return !isPlain(r) &&
			!strings.ContainsRune("._+-~:^", r)
	}):
		return fmt.Errorf("version %q: want letters and digits, and . _ + - ~ : ^ behind the first: %w", version,
			ErrVersion)
	}
	return nil
}

// Named reports whether the manifest's version is a name that the system has for itself. Where neither the image nor
// the system states one, the image's digest stands in its place, and there is nothing to compare.
func (m Manifest) Named() bool { return m.Version != DigestVersion(m.Image) }

// DigestVersion is what stands in the place of a version where none is stated: the image's digest, as much of it as a
// version holds.
func DigestVersion(digest string) string { return digest[:min(len(digest), MaxVersion)] }
