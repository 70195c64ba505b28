package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/bootloader/arch"
)

// Addon returns a file that systemd-stub (from version 254 on) takes kernel arguments from, to put them behind those of
// a UKI, when it lies where the stub looks for it. Its name ends in ".addon.efi". The program in it is never started.
// It is not signed: with Secure Boot on, firmware refuses it, and the UKI starts without.
//
// Specification: systemd-stub(7), "Companion files".
func Addon(machine, cmdline string) ([]byte, error) {
	a, err := arch.Named(machine)
	if err != nil {
		return nil, fmt.Errorf("make an addon: %w", err)
	}
	base := nothing(a)
	var b bytes.Buffer
	stub := io.NewSectionReader(bytes.NewReader(base), 0, int64(len(base)))
	if _, err := Assemble(&b, stub, Bytes(Cmdline, []byte(cmdline))); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// nothing is an EFI program that ends at once with success, with room for a few more sections.
func nothing(a arch.Arch) []byte {
	const (
		headers, text = 0x400, 0x200
		coff          = 0x44
		optional      = coff + 20
		section       = optional + 240
	)
	b := make([]byte, headers+text)
	le := binary.LittleEndian
	put16 := func(at int, v uint16) { le.PutUint16(b[at:], v) }
	put32 := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	copy(b, "MZ")
	put32(0x3c, 0x40) // where the PE header is
	copy(b[0x40:], "PE\x00\x00")
	put16(coff, a.Machine)
	put16(coff+2, 1)            // sections
	put16(coff+16, 240)         // size of the optional header
	put16(coff+18, 0x0222)      // executable, large addresses, no debug data
	put16(optional, 0x20b)      // PE32+
	put32(optional+4, text)     // size of code
	put32(optional+16, 0x1000)  // entry point
	put32(optional+20, 0x1000)  // base of code
	put32(optional+32, 0x1000)  // section alignment
	put32(optional+36, 0x200)   // file alignment
	put32(optional+56, 0x2000)  // size of the image in memory
	put32(optional+60, headers) // size of the headers
	put16(optional+68, 10)      // an EFI application
	put16(optional+70, 0x100)   // data is not executable
	put32(optional+108, 16)     // data directories
	copy(b[section:], ".text")
	put32(section+8, uint32(len(a.Return)))
	put32(section+12, 0x1000)
	put32(section+16, text)
	put32(section+20, headers)
	put32(section+36, 0x60000020) // code, executable, readable
	copy(b[headers:], a.Return)
	return b
}
