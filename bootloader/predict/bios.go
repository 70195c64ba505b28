package predict

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// bios starts the disk as a BIOS does.
func (b *boot) bios() error {
	le := binary.LittleEndian
	first := make([]byte, 512)
	if _, err := b.disk.ReadAt(first, 0); err != nil || le.Uint16(first[510:]) != 0xaa55 {
		return errMenu("BIOS finds nothing to boot: sector 0 has no signature")
	}
	if first[0] != 0xeb || first[0x66] != 0x90 || first[0x67] != 0x90 {
		return errMenu("the boot code in sector 0 is not GRUB's; the machine hangs")
	}
	at := int64(le.Uint64(first[0x5c:]))
	head := make([]byte, 512)
	if _, err := b.disk.ReadAt(head, at*512); err != nil || head[0] != 0x52 {
		return errMenu("GRUB's boot code does not find the core image; the machine hangs")
	}
	next, length, segment := int64(le.Uint64(head[500:])), int64(le.Uint16(head[508:])), le.Uint16(head[510:])
	rest := make([]byte, length*512)
	if _, err := b.disk.ReadAt(rest, next*512); err != nil || next != at+1 || segment != 0x820 {
		return errMenu("the core image does not load; the machine hangs")
	}
	if size := len(CoreMark); len(rest) >= size+32 && string(rest[:size]) == CoreMark {
		sum := sha256.Sum256(rest[size+32:])
		if !bytes.Equal(sum[:], rest[size:size+32]) {
			return errMenu("the core image is damaged; the machine hangs")
		}
	}
	return b.grub()
}

// CoreMark is what the core images of tests (loadertest.GRUBCore) begin with, behind their first sector: a digest of
// the rest follows it. Real ones carry their own correction codes, which are not looked at.
const CoreMark = "the model's core image\n"
