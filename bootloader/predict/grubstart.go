package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
)

// archives are how an initramfs begins: cpio, gzip, xz, zstd, lz4.
var archives = []string{"070701", "\x1f\x8b", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "\x02\x21\x4c\x18"}

// started says what the kernel makes of what it was given: one that is cut short resets the machine, one whose
// initramfs is no archive panics.
func (g *grub) started(before, after map[string]string) error {
	k, b := g.kernel, g.b
	le := binary.LittleEndian
	setup := int64(k.header[0x1f1])
	if setup == 0 {
		setup = 4
	}
	if whole := (setup+1)*512 + int64(le.Uint32(k.header[0x1f4:]))*16; g.bzImage() && k.file.size < whole &&
		!b.good(g.path(k.path)) {
		b.log("the kernel has %d bytes of %d", k.file.size, whole)
		b.because("GRUB starts %s, which is cut short (%d bytes of %d).", fileName(k.path), k.file.size, whole)
		return errReset
	}
	if !g.unpacks() {
		b.log("the kernel panics: its initramfs is no archive")
		b.because("GRUB starts %s, which panics: its initramfs is no archive.", fileName(k.path))
		if rebootsAfterPanic(k.cmdline) {
			return errReset
		}
		return errMenu("the kernel panics and hangs")
	}
	b.out.Path, b.out.Slot, b.out.Cmdline = cleanPath(k.path), slotOf(k.path), k.cmdline
	left, _ := strconv.Atoi(before["tries"])
	b.out.Trial = left > 0 && before["trial"] == string(b.out.Slot) && after["tries"] == strconv.Itoa(left-1) &&
		b.out.Slot != bootloader.None
	b.out.Digest, b.out.Initrd = b.digest(k.file), b.digest(k.initrd)
	g.explainGRUB(before, after)
	return nil
}

// startKernel hands a kernel to the firmware, where that is how it starts.
func (g *grub) startKernel() error {
	if k := g.kernel; !g.bzImage() && !g.b.good(g.path(k.path)) {
		if _, err := loadImage(k.file, k.file.size, g.b.machine().Machine); err != nil {
			return fmt.Errorf("cannot load image: %w", err)
		}
	}
	return errStarted
}

// unpacks reports whether there is an initramfs that is an archive.
func (g *grub) unpacks() bool {
	k := g.kernel
	if k.initrd == nil || g.b.good(g.path(k.initrdPath)) {
		return k.initrd != nil
	}
	head := make([]byte, 8)
	n, _ := k.initrd.ReadAt(head, 0) // what is not read is no archive
	return slices.ContainsFunc(archives, func(magic string) bool { return bytes.HasPrefix(head[:n], []byte(magic)) })
}

func rebootsAfterPanic(line string) bool {
	seconds, _ := cmdline.Panic(line)
	return seconds != 0
}
