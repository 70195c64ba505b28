package loadertest

import (
	"encoding/binary"

	"github.com/pawl-os/pawl/bootloader/arch"
)

// Stub returns a UKI stub of 1.5 KiB for amd64 that firmware would start and that ends at once with success. It carries
// no loader of kernels: with it a test or an example makes a UKI (uki.Assemble, pack.UKI) that a model boots, on a
// machine that has no systemd-stub.
func Stub() []byte { return StubFor(arch.Usual().Name) }

// StubFor is Stub for machines of another architecture (a GOARCH).
func StubFor(machine string) []byte {
	a := of(machine)
	const (
		headers = 0x400 // leaves room for the section headers of a UKI
		text    = 0x200
	)
	b := make([]byte, headers+text)
	le := binary.LittleEndian
	put16 := func(at int, v uint16) { le.PutUint16(b[at:], v) }
	put32 := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	copy(b, "MZ")
	put32(0x3c, 0x40) // where the PE header is
	copy(b[0x40:], "PE\x00\x00")
	const coff = 0x44
	put16(coff, a.Machine)
	put16(coff+2, 1)    // sections
	put16(coff+16, 240) // size of the optional header
	put16(coff+18, 0x0222)
	const opt = coff + 20
	put16(opt, 0x20b)      // PE32+
	put32(opt+4, text)     // size of code
	put32(opt+16, 0x1000)  // entry point
	put32(opt+20, 0x1000)  // base of code
	put32(opt+32, 0x1000)  // section alignment
	put32(opt+36, 0x200)   // file alignment
	put32(opt+56, 0x2000)  // size of the image in memory
	put32(opt+60, headers) // size of the headers
	put16(opt+68, 10)      // an EFI application
	put32(opt+108, 16)     // data directories
	const section = opt + 240
	copy(b[section:], ".text")
	put32(section+8, uint32(len(a.Return))) // bytes in memory
	put32(section+12, 0x1000)
	put32(section+16, text)
	put32(section+20, headers)
	put32(section+36, 0x60000020) // code, executable, readable
	copy(b[headers:], a.Return)
	return b
}
