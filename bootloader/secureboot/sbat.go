package secureboot

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Levels are the lowest generations of components that are not revoked, by their names.
type Levels map[string]int

// ParseLevels reads SBAT: lines of a component's name, its generation, and what people may read, with commas between. A
// line whose generation is no number says nothing. It serves for what is revoked and for what a program has.
func ParseLevels(b []byte) Levels {
	b, _, _ = bytes.Cut(b, []byte{0})
	l := Levels{}
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ",", 3)
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(fields[1], 10, 16); err == nil && n > 0 {
			l[fields[0]] = int(n)
		}
	}
	return l
}

// Allow says why a program with that section .sbat is revoked: ErrRefused. A component that is not among the levels is
// allowed.
func (l Levels) Allow(sbat []byte) error {
	for name, has := range ParseLevels(sbat) {
		if least, ok := l[name]; ok && has < least {
			return fmt.Errorf("%w: its SBAT has %.64q in generation %d, and those below %d are revoked", ErrRefused, name,
				has, least)
		}
	}
	return nil
}
