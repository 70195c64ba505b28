// Package grubenv reads and changes GRUB's environment block: the small file in which GRUB keeps variables between
// boots, and the only thing that GRUB itself can write.
//
// Start with Parse or New. A Block is the bytes of the file; Set and Delete change them in place, as GRUB's save_env
// and grub-editenv do, so the length never changes and everything else stays as it is.
//
//	# GRUB Environment Block\n      signature, 25 bytes
//	name=value\n                    any number; in value, backslash and newline have a backslash before them
//	#...\n                          comments, anywhere
//	###...                          free room, up to the end
//
// The package has no paths and opens nothing. It does not check a block against a torn write: the format has no
// checksum.
//
// Source: GRUB 2.06, grub-core/lib/envblk.c and the manual's section "The GRUB environment block". grub-editenv judges
// it in the tests.
package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Signature begins every block.
const Signature = "# GRUB Environment Block\n"

// Errors that callers act on.
var (
	// ErrFormat is returned for bytes that are no environment block, or one that GRUB would read otherwise than we do.
	// Do: treat the block as destroyed.
	ErrFormat = errors.New("not a GRUB environment block")
	// ErrFull is returned when a variable does not fit; the block is as it was. Do: store less.
	ErrFull = errors.New("no room in the GRUB environment block")
)

// Variable is one name and its value. A name has letters, digits, underscores, hyphens and dots; a value anything but
// NUL.
type Variable struct{ Name, Value string }

// Block is the content of an environment block's file, from New or Parse.
type Block []byte

// New returns an empty block of size bytes. It panics on a size that does not hold the signature, which is a fault of
// the program.
func New(size int) Block {
	return append(append(make(Block, 0, size), Signature...), bytes.Repeat([]byte{'#'}, size-len(Signature))...)
}

// Parse checks data and returns it as a block that shares its bytes. What GRUB would take otherwise is ErrFormat: lines
// without a name or an equals sign, names with other characters, a variable named twice, NUL, a value that does not
// end.
func Parse(data []byte) (Block, error) {
	b := Block(data)
	if !bytes.HasPrefix(b, []byte(Signature)) {
		return nil, fmt.Errorf("parse: no signature: %w", ErrFormat)
	}
	seen := map[string]bool{}
	for at := len(Signature); at < len(b); {
		l, err := b.line(at)
		if err != nil {
			return nil, fmt.Errorf("parse: at byte %d: %w", at, err)
		}
		if l.name != "" && seen[l.name] {
			return nil, fmt.Errorf("parse: at byte %d: %q is named twice: %w", at, l.name, ErrFormat)
		}
		seen[l.name] = true
		at = l.end
	}
	return b, nil
}

// Scan returns the variables that GRUB itself reads, in its order, from any bytes: also from those that Parse refuses,
// as a write of which only a part arrived may leave them, up to where GRUB takes them for broken. A name that comes
// again counts again. Bytes without the signature are [ErrFormat]; GRUB reads nothing then.
func Scan(data []byte) ([]Variable, error) {
	b := Block(data)
	if !bytes.HasPrefix(b, []byte(Signature)) {
		return nil, fmt.Errorf("scan: no signature: %w", ErrFormat)
	}
	var vars []Variable
	for at := len(Signature); at < len(b); {
		value := at
		if b[at] != '#' {
			equals := bytes.IndexByte(b[at:], '=')
			if equals < 0 {
				break
			}
			value = at + equals + 1
		}
		end, closed := b.lineEnd(value)
		if b[at] != '#' {
			if !closed {
				break
			}
			vars = append(vars, Variable{string(b[at : value-1]), unescape(b[value : end-1])})
		}
		at = end
	}
	return vars, nil
}

// line is where one line lies: [start, end), with its newline.
type line struct {
	name              string // "" for a comment
	start, value, end int
}

// line reads the line that starts at byte at.
func (b Block) line(at int) (line, error) {
	l := line{start: at}
	if b[at] == '#' {
		// GRUB finds the end of a comment as it finds that of a value: a backslash hides what follows it.
		end, closed := b.lineEnd(at)
		if !closed && len(bytes.Trim(b[at:], "#")) > 0 {
			return l, fmt.Errorf("a comment without an end: %w", ErrFormat)
		}
		l.end = end
		return l, nil
	}
	equals := bytes.IndexByte(b[at:], '=')
	if equals <= 0 {
		return l, fmt.Errorf("a line without a name: %w", ErrFormat)
	}
	l.name, l.value = string(b[at:at+equals]), at+equals+1
	if err := checkName(l.name); err != nil {
		return l, fmt.Errorf("%w: %w", err, ErrFormat)
	}
	end, closed := b.lineEnd(l.value)
	switch {
	case !closed:
		return l, fmt.Errorf("the value of %q does not end: %w", l.name, ErrFormat)
	case bytes.IndexByte(b[l.value:end], 0) >= 0:
		return l, fmt.Errorf("NUL in the value of %q: %w", l.name, ErrFormat)
	}
	l.end = end
	return l, nil
}

// lineEnd is the byte after the newline that ends a value or comment.
func (b Block) lineEnd(at int) (end int, closed bool) {
	for ; at < len(b); at++ {
		switch b[at] {
		case '\\':
			at++
		case '\n':
			return at + 1, true
		}
	}
	return len(b), false
}

func checkName(name string) error {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.", c) >= 0) {
			return fmt.Errorf("variable name %q has a character that is not allowed", name)
		}
	}
	if name == "" {
		return errors.New("a variable without a name")
	}
	return nil
}

// find returns the variable's line.
func (b Block) find(name string) (line, bool) {
	for at := len(Signature); at < len(b); {
		l, err := b.line(at)
		if err != nil {
			return line{}, false
		}
		if l.name == name {
			return l, true
		}
		at = l.end
	}
	return line{}, false
}

// Variables lists what the block holds, in its order.
func (b Block) Variables() []Variable {
	var vars []Variable
	for at := len(Signature); at < len(b); {
		l, err := b.line(at)
		if err != nil {
			break
		}
		if l.name != "" {
			vars = append(vars, Variable{l.name, unescape(b[l.value : l.end-1])})
		}
		at = l.end
	}
	return vars
}

// Lookup returns a variable's value.
func (b Block) Lookup(name string) (value string, ok bool) {
	l, ok := b.find(name)
	if name == "" || !ok {
		return "", false
	}
	return unescape(b[l.value : l.end-1]), true
}

// Set changes a variable where it stands, or appends it. What follows moves; the length of the block stays.
func (b Block) Set(name, value string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("set %s: NUL in the value", name)
	}
	l, ok := b.find(name)
	if !ok {
		l = line{start: b.used(), end: b.used()}
	}
	if err := b.replace(l, name+"="+escape(value)+"\n"); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Delete removes a variable. One that is not there is no error.
func (b Block) Delete(name string) {
	if l, ok := b.find(name); ok && name != "" {
		_ = b.replace(l, "") // less always fits
	}
}

// used is where the free room begins.
func (b Block) used() int { return len(bytes.TrimRight(b, "#")) }

func (b Block) replace(l line, text string) error {
	rest := b[l.end:max(l.end, b.used())]
	if need := l.start + len(text) + len(rest); need > len(b) {
		return fmt.Errorf("%d bytes are needed, it has %d: %w", need, len(b), ErrFull)
	}
	changed := append([]byte(text), rest...)
	clear := b[l.start+copy(b[l.start:], changed):]
	for i := range clear {
		clear[i] = '#'
	}
	return nil
}

func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)
}

func unescape(text []byte) string {
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		out = append(out, text[i])
	}
	return string(out)
}
