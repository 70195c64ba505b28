// Package efivar reads and writes EFI variables: their names and values as bytes, and stores that keep them.
//
// Start with Store. Open gives the one of this machine, over efivarfs; [NewMemory] gives one for tests and for disk
// images. The codecs ([LoadOption], BootOrder, strings) are pure and may be used alone.
//
// It guarantees that a write whose value is there already writes nothing (flash wears, and firmware runs out of room),
// that one variable is written by one system call, and that decoding and encoding again gives the same bytes, reserved
// ones included. It does not reclaim the firmware's space, sign anything, or judge what a value means.
//
// Specification: UEFI 2.10, sections 3.1.3 (load options), 3.3 (globally defined variables), 8.2 (variable services)
// and 10.3 (device paths); systemd's Boot Loader Interface for the Loader variables.
package efivar

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Errors that callers act on. A variable that is not there is fs.ErrNotExist.
var (
	// ErrNotKept is returned when the firmware's variables cannot be written: read-only, forbidden, full, or not there
	// at all. The old value is as it was. Do: make them writable, or do without.
	ErrNotKept = errors.New("firmware variables cannot be kept")
	// ErrFormat is returned when bytes are not what they should be. Do: treat the variable as not understood; never
	// overwrite it.
	ErrFormat = errors.New("malformed variable")
)

// GUID is a GUID in the order of its text form (that of RFC 9562). Firmware stores the first three groups reversed;
// the codecs see to that.
type GUID [16]byte

// ParseGUID reads the text form, 36 characters in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return GUID{}, fmt.Errorf("parse GUID %q: %w", s, ErrFormat)
	}
	if n, err := hex.Decode(g[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil || n != len(g) {
		return GUID{}, fmt.Errorf("parse GUID %q: %w", s, ErrFormat)
	}
	return g, nil
}

// String is the text form in lower case.
func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// Swapped exchanges the text order and the firmware's order; it is its own inverse.
func (g GUID) Swapped() GUID {
	return GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// The owners of the variables that matter here.
var (
	globalGUID = mustGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c") // the UEFI specification
	loaderGUID = mustGUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f") // systemd's Boot Loader Interface
)

// Name is the full name of a variable.
type Name struct {
	Name string
	GUID GUID
}

// Global is the name of a variable of the UEFI specification, such as "BootOrder".
func Global(name string) Name { return Name{name, globalGUID} }

// Loader is the name of a variable of the Boot Loader Interface, such as "LoaderEntryOneShot".
func Loader(name string) Name { return Name{name, loaderGUID} }

// Boot is the name of boot option n: "Boot0001".
func Boot(n uint16) Name { return Global(fmt.Sprintf("Boot%04X", n)) }

// BootNumber is the inverse of Boot; ok is false for every other name.
func (n Name) BootNumber() (number uint16, ok bool) {
	digits, found := strings.CutPrefix(n.Name, "Boot")
	if !found || len(digits) != 4 || n.GUID != globalGUID {
		return 0, false
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// String is the name as efivarfs spells it: the name, a hyphen and the GUID.
func (n Name) String() string { return n.Name + "-" + n.GUID.String() }

// ParseName reads what String wrote.
func ParseName(s string) (Name, error) {
	cut := len(s) - 37
	if cut < 1 || s[cut] != '-' {
		return Name{}, fmt.Errorf("parse variable name %q: %w", s, ErrFormat)
	}
	g, err := ParseGUID(s[cut+1:])
	if err != nil {
		return Name{}, fmt.Errorf("parse variable name %q: %w", s, err)
	}
	return Name{s[:cut], g}, nil
}

func mustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// Attributes of a variable.
const (
	NonVolatile uint32 = 1 // survives a reset
	BootService uint32 = 2 // seen by the firmware and the loader
	Runtime     uint32 = 4 // seen by the operating system

	// Kept is what a variable needs that the operating system writes for the loader.
	Kept = NonVolatile | BootService | Runtime
)

// Variable is a variable's value.
type Variable struct {
	Attributes uint32
	Data       []byte
}

// Bytes is the variable as efivarfs shows it: four bytes of attributes, then the data.
func (v Variable) Bytes() []byte {
	return append(binary.LittleEndian.AppendUint32(nil, v.Attributes), v.Data...)
}

// ParseVariable reads what Bytes wrote. The data is a copy.
func ParseVariable(b []byte) (Variable, error) {
	if len(b) < 4 {
		return Variable{}, fmt.Errorf("parse variable of %d bytes: %w", len(b), ErrFormat)
	}
	return Variable{binary.LittleEndian.Uint32(b), bytes.Clone(b[4:])}, nil
}

// Equal reports whether attributes and data are the same.
func (v Variable) Equal(w Variable) bool {
	return v.Attributes == w.Attributes && bytes.Equal(v.Data, w.Data)
}

// Store keeps variables.
type Store interface {
	// Read returns the variable; fs.ErrNotExist when there is none. The data belongs to the caller.
	Read(Name) (Variable, error)
	// Write makes the variable v, whole or not at all. It writes nothing when it is v already. ErrNotKept when it
	// cannot be kept; the old value stays.
	Write(Name, Variable) error
	// Delete removes the variable. It is no error, and writes nothing, when there is none.
	Delete(Name) error
	// List returns the names of all variables, sorted.
	List() ([]Name, error)
}
