package pack

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Advice is what could make upgrades to what is packed smaller: a sentence for people, or "" where there is nothing to
// say. It is said of a kernel, an initramfs and a squashfs, by their headers alone.
func Advice(r io.ReaderAt) string {
	head := make([]byte, 1<<10)
	n, _ := r.ReadAt(head, 0) // what cannot be read is found by whoever packs it
	head = head[:n]
	if name := packing(head); name != "" {
		return fmt.Sprintf("it is compressed with %s, so that an upgrade downloads nearly all of it when anything in it "+
			"changes; the layer is compressed anyway", name)
	}
	if n < len(head) {
		return ""
	}
	at := int64(-1)
	switch {
	case string(head[:4]) == "hsqs" && binary.LittleEndian.Uint16(head[24:])&2 == 0:
		return "it is a squashfs with compressed data, of which patches reuse little; the layer is compressed anyway " +
			"(mksquashfs -noI -noD -noF -noX -no-fragments)"
	case string(head[0x202:0x206]) == "HdrS": // boot protocol of the kernel, 2.08
		at = (int64(head[0x1f1])+1)*512 + int64(binary.LittleEndian.Uint32(head[0x248:]))
	case string(head[:2]) == "MZ" && string(head[4:8]) == "zimg":
		at = int64(binary.LittleEndian.Uint32(head[8:]))
	default:
		return ""
	}
	payload := make([]byte, 8)
	if _, err := r.ReadAt(payload, at); err != nil {
		return ""
	}
	if name := packing(payload); name != "" {
		return fmt.Sprintf("what the kernel unpacks of itself is compressed with %s, so that an upgrade downloads nearly "+
			"all of it when it changes (a kernel can be built without: CONFIG_KERNEL_UNCOMPRESSED)", name)
	}
	return ""
}
