// Package cmdline splits a kernel's command line into arguments as Linux does.
//
// Start with Kernel, for what the kernel itself obeys, or with Split, for every word. It guarantees that each word is
// cut where Linux cuts it: at white space outside of double quotes, and at the end of the line, a NUL. Quotes are taken
// off where Linux takes them off. Behind a "--" everything is for init, and is no argument of the kernel's.
//
// The arguments by which a boot says what it is, and which no image may have, are named here for all who write or read
// them. How an argument has to be written for a loader is the business of its backend.
//
// Specification: Linux 6.1, lib/cmdline.c (next_arg), kernel/params.c (parse_args) and lib/kstrtox.c (kstrtoint).
package cmdline

import (
	"fmt"
	"strconv"
	"strings"
)

// Names of the arguments by which a boot says what it is.
const (
	// Slot names the slot that runs. It wins over what firmware and loader say: after a start by kexec they tell of the
	// boot before.
	Slot = "pawl.slot"
	// Boot is the GUID of the boot file system's partition, so that another disk's boot is told from ours.
	Boot = "pawl.boot"
	// Start says how the kernel was started, where it was not by a loader: [StartKexec].
	Start = "pawl.start"
	// Canary is what GRUB could write in this boot: see grub.cfg.
	Canary = "pawl.canary"
	// Failed is "SLOT:WHY" of a slot that was to boot and did not.
	Failed = "pawl.failed"
)

// Verity begins the names of arguments that an image may have: pawl.verity.NAME=HASH says that the image NAME of the
// slot that boots has to have this root hash. In a UKI it is part of what is signed, and binds the root to the kernel.
const Verity = "pawl.verity."

// StartKexec is the whole argument Start of a kernel that was started by kexec.
const StartKexec = Start + "=kexec"

// DefaultPanic is added where a slot's arguments do not say what a panic does: a trial that dies must not hang.
const DefaultPanic = "panic=10"

// Ours reports whether an argument is one by which a boot says what it is. An image that had it would be taken for
// another slot.
func Ours(name string) bool {
	switch name {
	case Slot, Boot, Start, Canary, Failed:
		return true
	}
	return false
}

// Arg is one word of a command line.
type Arg struct {
	Raw   string // as it is written, with its quotes
	Name  string // before the first "=", without the quotes that Linux takes off
	Value string // behind it, likewise
	Set   bool   // there is a "=", so Value counts even where it is empty
}

// String is the word without its quotes, as the kernel's own list of parameters has it.
func (a Arg) String() string {
	if a.Set {
		return a.Name + "=" + a.Value
	}
	return a.Name
}

// IsSpace reports whether Linux takes a byte for white space. The last one is a space of Latin-1, and the second byte
// of some letters in UTF-8.
func IsSpace(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' || b == 0xa0 }

// Split returns all words, a "--" and what is behind it included.
func Split(line string) []Arg {
	line, _, _ = strings.Cut(line, "\x00")
	var all []Arg
	for at := 0; at < len(line); {
		if IsSpace(line[at]) {
			at++
			continue
		}
		end, quoted := at, false
		for end < len(line) && (quoted || !IsSpace(line[end])) {
			quoted = quoted != (line[end] == '"')
			end++
		}
		all = append(all, parse(line[at:end]))
		at = end
	}
	return all
}

// parse takes one word apart. A "=" at its very beginning belongs to the name.
func parse(raw string) Arg {
	a := Arg{Raw: raw}
	word, quoted := strings.CutPrefix(raw, `"`)
	a.Name = word
	if at := strings.IndexByte(word, '='); at > 0 {
		a.Name, a.Value, a.Set = word[:at], word[at+1:], true
	} else if at == 0 {
		if at = strings.IndexByte(word[1:], '='); at >= 0 {
			a.Name, a.Value, a.Set = word[:at+1], word[at+2:], true
		}
	}
	last := &a.Name
	if a.Set {
		last = &a.Value
		value, opened := strings.CutPrefix(a.Value, `"`)
		a.Value, quoted = value, quoted || opened
	}
	if quoted {
		*last = strings.TrimSuffix(*last, `"`)
	}
	return a
}

// Kernel returns the words that the kernel takes for its own: those before the first "--".
func Kernel(line string) []Arg {
	all := Split(line)
	for i, a := range all {
		if a.Name == "--" && !a.Set {
			return all[:i]
		}
	}
	return all
}

// One is the value of a parameter that can have one value only; set is false when the kernel is not given it. Two
// values that differ in more than case are an error.
func One(line, name string) (value string, set bool, err error) {
	for _, a := range Kernel(line) {
		switch {
		case a.Name != name:
		case set && !strings.EqualFold(value, a.Value):
			return "", false, fmt.Errorf("the kernel command line has %s=%s and %s=%s", name, value, name, a.Value)
		default:
			value, set = a.Value, true
		}
	}
	return value, set, nil
}

// Panic is after how many seconds a panic ends in a restart: negative is at once, 0 is never. The last panic=N counts.
// One that is no number is passed over, as the kernel does; said is false when there is none that counts.
func Panic(line string) (seconds int, said bool) {
	for _, a := range Kernel(line) {
		if a.Name != "panic" || !a.Set {
			continue
		}
		if n, ok := number(a.Value); ok {
			seconds, said = n, true
		}
	}
	return seconds, said
}

// RebootsOnPanic reports whether kernel arguments make a panic end in a restart.
func RebootsOnPanic(line string) bool {
	seconds, _ := Panic(line)
	return seconds != 0 // negative: at once
}

// number reads an int as the kernel does: decimal, hexadecimal behind 0x, octal behind 0, perhaps with a line end.
func number(s string) (int, bool) {
	s = strings.TrimSuffix(s, "\n")
	digits := strings.ToLower(strings.TrimLeft(s, "+-"))
	if strings.Contains(s, "_") || strings.HasPrefix(digits, "0b") || strings.HasPrefix(digits, "0o") {
		return 0, false // Go's own spellings
	}
	n, err := strconv.ParseInt(s, 0, 32)
	return int(n), err == nil
}
