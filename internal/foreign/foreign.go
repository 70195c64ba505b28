// Package foreign takes in what others say: programs, registries, firmware, kernels, files. Start with Text.
//
// It guarantees valid UTF-8 of bounded length, so that what was said can be kept in META, sent over the API and logged.
// It leaves control characters as they are; whoever prints on a terminal escapes them.
package foreign

import (
	"strings"
	"unicode/utf8"
)

// more is behind what was cut.
const more = "..."

// Text is s as valid UTF-8 of at most limit bytes; limit is at least 3. Each run of bytes that are no UTF-8 becomes one
// U+FFFD, and what was cut ends in "...".
func Text(s string, limit int) string {
	long := len(s) > limit
	if long {
		s = s[:limit] // first: the rest may be very long
	}
	s = strings.ToValidUTF8(s, string(utf8.RuneError)) // which may be longer, or end in half a character
	if !long && len(s) <= limit {
		return s
	}
	end := min(len(s), limit-len(more))
	for end > 0 && end < len(s) && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

// Fits reports whether Text leaves s as it is.
func Fits(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }
