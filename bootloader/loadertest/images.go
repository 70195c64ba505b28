package loadertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// Small files that the model takes for loaders and kernels.

// of is an architecture by its name.
func of(name string) arch.Arch {
	a, err := arch.Named(name)
	if err != nil {
		panic(err)
	}
	return a
}

type section struct {
	name string
	data []byte
}

// Loader returns a small file that the model takes for systemd-boot, for machines of the architecture (a GOARCH). No
// real firmware starts it.
func Loader(machine string) []byte { return LoaderOf(machine, "252.39-1~deb12u2") }

// LoaderOf is Loader of another version.
func LoaderOf(machine, version string) []byte {
	says := []byte("#### LoaderInfo: systemd-boot " + version + " ####")
	sbat := section{".sbat", levels("systemd,1,The systemd Developers,systemd," + version + ",https://systemd.io/")}
	if machine != arch.Usual().Name { // as systemd 252 is linked for arm64: behind all sections
		return append(append(image(machine, section{".text", []byte{0xc3}}, sbat), says...), 0)
	}
	return image(machine, section{".text", []byte{0xc3}}, section{".sdmagic", says}, sbat)
}

// Shim returns a small file that is taken for a shim. No real firmware starts it.
func Shim(machine string) []byte { return ShimOf(machine, nil) }

// ShimOf is Shim with a certificate of its vendor, DER.
func ShimOf(machine string, vendor []byte) []byte {
	le := binary.LittleEndian
	table := le.AppendUint32(le.AppendUint32(nil, uint32(len(vendor))), 0)
	table = le.AppendUint32(le.AppendUint32(table, 16), uint32(16+len(vendor)))
	return image(machine, section{".text", []byte{0xc3}},
		section{".sbat", levels("shim,4,UEFI shim,shim,1,https://github.com/rhboot/shim")},
		section{".vendor_cert", append(table, vendor...)})
}

// levels is the content of a section .sbat.
func levels(component string) []byte {
	return []byte("sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n" + component + "\n")
}

// Kernel returns a small file that the model takes for a unified kernel image with the payload inside. No real firmware
// starts it.
func Kernel(machine string, payload []byte) []byte {
	return image(machine, section{".text", []byte{0xc3}}, section{".linux", payload})
}

func image(machine string, sections ...section) []byte {
	const align, optSize = 512, 112 + 8*16
	round := func(n int) int { return (n + align - 1) / align * align }
	headers := round(64 + 24 + optSize + 40*len(sections))
	le := binary.LittleEndian
	b := make([]byte, headers)
	copy(b, "MZ")
	le.PutUint32(b[60:], 64)
	copy(b[64:], "PE\x00\x00")
	le.PutUint16(b[68:], of(machine).Machine)
	le.PutUint16(b[70:], uint16(len(sections)))
	le.PutUint16(b[84:], optSize)
	le.PutUint16(b[86:], 0x0202)
	opt := b[88:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[16:], uint32(headers))
	le.PutUint32(opt[32:], align)
	le.PutUint32(opt[36:], align)
	le.PutUint32(opt[60:], uint32(headers))
	le.PutUint16(opt[68:], 10)
	le.PutUint32(opt[108:], 16)
	names := ""
	for i, s := range sections {
		h := b[88+optSize+40*i:]
		size := round(len(s.data))
		if len(s.name) > 8 { // it is in the table of strings
			copy(h[:8], fmt.Sprintf("/%d", 4+len(names)))
			names += s.name + "\x00"
		} else {
			copy(h[:8], s.name)
		}
		le.PutUint32(h[8:], uint32(len(s.data)))
		le.PutUint32(h[12:], uint32(len(b)))
		le.PutUint32(h[16:], uint32(size))
		le.PutUint32(h[20:], uint32(len(b)))
		b = append(b, make([]byte, size)...)
		copy(b[len(b)-size:], s.data)
	}
	le.PutUint32(b[88+56:], uint32(len(b)))
	if names != "" {
		le.PutUint32(b[76:], uint32(len(b))) // a table of no symbols
		b = append(le.AppendUint32(b, uint32(4+len(names))), names...)
		b = append(b, make([]byte, round(len(b))-len(b))...)
	}
	return b
}

// GRUBCore returns what the model takes for GRUB's boot.img and core image for BIOS. No real BIOS starts them.
func GRUBCore() (boot, core []byte) { return GRUBCoreOf("core") }

// GRUBCoreOf is GRUBCore with another core image, which differs by its mark.
func GRUBCoreOf(mark string) (boot, core []byte) {
	le := binary.LittleEndian
	boot = make([]byte, 512)
	boot[0], boot[1], boot[2] = 0xeb, 0x63, 0x90
	le.PutUint16(boot[510:], 0xaa55)
	core = make([]byte, 512)
	core[0], core[1] = 0x52, 0x56
	le.PutUint64(core[500:], 2)
	le.PutUint16(core[510:], 0x820)
	body := bytes.Repeat([]byte(mark), 2000/len(mark))
	body = append(body, make([]byte, 512-(len(predict.CoreMark)+32+len(body))%512)...)
	sum := sha256.Sum256(body)
	core = append(append(append(core, predict.CoreMark...), sum[:]...), body...)
	return boot, core
}

// GRUBEFI returns a small file that the model takes for GRUB for UEFI on amd64. No real firmware starts it.
func GRUBEFI() []byte { return GRUBEFIOf("") }

// GRUBEFIOf is GRUBEFI with another content, which differs by its mark.
func GRUBEFIOf(mark string) []byte { return GRUBEFIFor(arch.Usual().Name, mark) }

// GRUBEFIFor is GRUBEFIOf for machines of another architecture (a GOARCH).
func GRUBEFIFor(machine, mark string) []byte {
	return image(machine, section{".text", []byte{0xc3}}, section{"mods", []byte("mimg" + mark)},
		section{".sbat", levels("grub,4,Free Software Foundation,grub,2.12,https://www.gnu.org/software/grub/")})
}

// LinuxImage is [LinuxImageFor] for the usual machine.
func LinuxImage(payload []byte) []byte { return LinuxImageFor(arch.Usual().Name, payload) }

// LinuxImageFor returns a small file that the model takes for a Linux kernel without a UKI around it, with the payload
// inside: for GRUB (on amd64 a bzImage), and an EFI program for systemd-boot. No real machine starts it.
func LinuxImageFor(machine string, payload []byte) []byte {
	a := of(machine)
	const headers = 1024 // of the bzImage: one sector and its setup; of the program: so much is no section's
	units := (len(payload) + 15) / 16
	b := make([]byte, headers, headers+16*units)
	le := binary.LittleEndian
	copy(b, image(machine, section{".text", make([]byte, 16*units)})[:64+24+112+8*16+40])
	le.PutUint32(b[64+24+36:], 16) // alignment in the file
	le.PutUint32(b[64+24+56:], uint32(headers+16*units))
	le.PutUint32(b[64+24+60:], headers)
	table := b[64+24+112+8*16:]
	le.PutUint32(table[12:], headers)
	le.PutUint32(table[16:], uint32(16*units))
	le.PutUint32(table[20:], headers)
	if a.Kernel.Format != arch.BzImage {
		copy(b[a.Kernel.At:], a.Kernel.Text)
		b = append(b, payload...)
		return append(b, make([]byte, 16*units-len(payload))...)
	}
	b[0x1f1] = 1
	le.PutUint32(b[0x1f4:], uint32(units))
	le.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f)
	b = append(b, payload...)
	return append(b, make([]byte, 16*units-len(payload))...)
}
