package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// UKIParts is what a unified kernel image is made of. Stub, Linux and Initrd are read while the image is packed and
// must stay open until then.
type UKIParts struct {
	Stub      *io.SectionReader // systemd's linuxx64.efi.stub or one like it; required
	Linux     *io.SectionReader // the kernel; required
	Initrd    *io.SectionReader // the initramfs; nil for none
	Cmdline   string            // the kernel's command line
	OSRelease string            // the os-release file: systemd-boot shows and sorts by it
	Uname     string            // the kernel's release; "" takes it from an x86 kernel's header, if it has one
}

// UKI is the asset vmlinuz.efi made of p. It is assembled while Add writes it, and nothing of it is kept in memory.
func UKI(p UKIParts) (Asset, error) {
	if p.Stub == nil || p.Linux == nil {
		return Asset{}, fmt.Errorf("asset %s: a stub and a kernel are needed", UKIAsset)
	}
	var sections []uki.Section
	text := func(name, content string) {
		if content != "" {
			sections = append(sections, uki.Bytes(name, []byte(content)))
		}
	}
	text(uki.OSRelease, p.OSRelease)
	text(uki.Cmdline, p.Cmdline)
	if p.Uname == "" {
		p.Uname = kernelRelease(p.Linux)
	}
	text(uki.Uname, p.Uname)
	if p.Initrd != nil {
		sections = append(sections, uki.Section{Name: uki.Initrd, Data: p.Initrd})
	}
	sections = append(sections, uki.Section{Name: uki.Linux, Data: p.Linux})
	size, err := uki.Size(p.Stub, sections...)
	if err != nil {
		return Asset{}, fmt.Errorf("asset %s: %w", UKIAsset, err)
	}
	return Asset{Name: UKIAsset, Size: size, Write: func(w io.Writer) error {
		_, err := uki.Assemble(w, p.Stub, sections...)
		return err
	}}, nil
}

// beginning keeps the first bytes of what is written to it, where a UKI has what says which version it is.
type beginning struct{ data []byte }

func (b *beginning) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), 1<<20-len(b.data))]...)
	return len(p), nil
}

// states refuses a UKI of size bytes whose system calls itself something else than version: once it runs it could not
// be confirmed. What is no UKI states nothing.
func (b *beginning) states(size int64, version string) error {
	img, err := uki.Parse(uki.Beginning{ReaderAt: bytes.NewReader(b.data), Known: int64(len(b.data))}, size)
	if err != nil {
		return nil
	}
	if own, err := img.Version(); err == nil && own != "" && own != version {
		return fmt.Errorf("the image is to state version %q, and the os-release inside says VERSION_ID=%q: they have "+
			"to be the same", version, own)
	}
	return nil
}

// kernelRelease reads the release from an x86 boot image, "" from anything else. Source: the Linux kernel's
// Documentation/arch/x86/boot.rst, fields header (0x202) and kernel_version (0x20e).
func kernelRelease(r io.ReaderAt) string {
	var header [0x210]byte
	if n, _ := r.ReadAt(header[:], 0); n < len(header) || string(header[0x202:0x206]) != "HdrS" {
		return ""
	}
	text := make([]byte, 128)
	n, _ := r.ReadAt(text, 0x200+int64(binary.LittleEndian.Uint16(header[0x20e:])))
	release, _, _ := strings.Cut(string(text[:n]), "\x00")
	release, _, _ = strings.Cut(release, " ")
	for _, c := range release {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return release
}
