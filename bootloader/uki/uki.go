// Package uki assembles unified kernel images and takes them apart. A UKI is one PE32+ file: a stub that the firmware
// starts, and behind it the kernel, its initramfs, its command line and more, each in a section of its own.
//
// Start with Assemble, which does what objcopy and ukify do with systemd's linuxx64.efi.stub, or with Parse.
//
// Assemble gives the same bytes for the same input and holds none of the sections in memory. Parse trusts nothing: it
// bounds every offset by the file's size, so a truncated file is an error and not a shorter section, and it reads
// nothing but the headers.
//
// The package does not sign, does not check signatures or the PE checksum (no firmware does), and makes no stub.
//
// Specifications: Microsoft PE format (PE32+), https://learn.microsoft.com/windows/win32/debug/pe-format; UAPI group,
// Unified Kernel Image (UKI), https://uapi-group.org/specifications/specs/unified_kernel_image/.
package uki

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader/arch"
)

// Names of the sections that a stub looks for. Assemble puts no meaning into them; the order below is the one to
// give them in: the kernel last, because it may unpack itself over what follows.
const (
	OSRelease = ".osrel"   // the os-release file of this version
	Cmdline   = ".cmdline" // the kernel's command line
	Uname     = ".uname"   // the kernel's release, as uname -r prints it
	Initrd    = ".initrd"  // the initramfs
	Linux     = ".linux"   // the kernel, an EFI program by itself
)

// Errors that callers act on.
var (
	// ErrFormat is returned when bytes are not a PE32+ image that this package understands, or not all of one.
	// Do: fetch or build the file again.
	ErrFormat = errors.New("not a whole PE32+ image")
	// ErrBeyond is returned for what lies behind the known beginning of a file. Do: look again when the file is whole.
	ErrBeyond = errors.New("behind what is known of the file")
	// ErrNoSection is returned when an image has no section of that name. Do: check that it is a UKI.
	ErrNoSection = errors.New("no such section")
)

// Section is one named part of an image. Its data is read only when a caller or Assemble reads it.
type Section struct {
	Name string            // at most 8 bytes, with its dot: ".linux"
	Data *io.SectionReader // the content, without padding; a Parse result reads from the file given to Parse
}

// Bytes is a section that holds data.
func Bytes(name string, data []byte) Section {
	return Section{Name: name, Data: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
}

// Image is a parsed PE32+ file.
type Image struct {
	Arch     string    // GOARCH: "amd64", "arm64", ...; "" for a machine that this package does not know
	Sections []Section // in file order, the stub's own (".text", ...) included

	behind *io.SectionReader // what lies in the file behind all sections
}

// Beginning is a file of which only the first Known bytes are there. Whatever lies behind them is [ErrBeyond], so that
// Parse can tell what it does not know yet from what is wrong.
type Beginning struct {
	io.ReaderAt
	Known int64
}

// ReadAt reads what is known, all of it or nothing.
func (b Beginning) ReadAt(p []byte, off int64) (int, error) {
	if off > b.Known-int64(len(p)) {
		return 0, ErrBeyond
	}
	return b.ReaderAt.ReadAt(p, off)
}

// Parse reads the headers of the size bytes in r. Each section's data is whatever is both in the file and in memory
// (padding is cut). An error wraps [ErrFormat], or is r's own.
func Parse(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeaders(r, size)
	if err != nil {
		return nil, fmt.Errorf("parse UKI: %w", err)
	}
	img := &Image{Arch: arch.NameOf(h.machine)}
	end := int64(len(h.raw))
	for _, s := range h.sections {
		end = max(end, int64(s.rawOffset)+int64(s.rawSize))
		img.Sections = append(img.Sections, Section{
			Name: s.name,
			Data: io.NewSectionReader(r, int64(s.rawOffset), int64(s.dataSize())),
		})
	}
	img.behind = io.NewSectionReader(r, end, max(0, size-end))
	return img, nil
}

// Section returns the first section of that name, or [ErrNoSection].
func (i *Image) Section(name string) (Section, error) {
	for _, s := range i.Sections {
		if s.Name == name {
			return s, nil
		}
	}
	return Section{}, fmt.Errorf("section %s: %w", name, ErrNoSection)
}

// maxText bounds what Text reads: an os-release file and a command line are a few hundred bytes.
const maxText = 64 << 10

// Text returns the content of a small text section, such as Cmdline, without the zeros and line ends behind it. A
// section of more than 64 KiB is refused with [ErrFormat].
func (i *Image) Text(name string) (string, error) {
	s, err := i.Section(name)
	if err != nil {
		return "", err
	}
	if s.Data.Size() > maxText {
		return "", fmt.Errorf("section %s of %d bytes is no text: %w", name, s.Data.Size(), ErrFormat)
	}
	data := make([]byte, s.Data.Size())
	if _, err := s.Data.ReadAt(data, 0); err != nil && err != io.EOF {
		return "", fmt.Errorf("read section %s: %w", name, err)
	}
	return string(bytes.TrimRight(data, "\x00\n")), nil
}

// LoaderInfo returns what a program of systemd says of itself, "systemd-boot 252.39-1~deb12u2" or "systemd-stub 257":
// the text between "#### LoaderInfo: " and " ####". It is in the section .sdmagic, or for machines where systemd 252
// was linked without such sections (arm64) behind all sections, where 1 MiB is looked at. What says nothing is
// [ErrNoSection].
func (i *Image) LoaderInfo() (string, error) {
	text, err := i.Text(".sdmagic")
	if errors.Is(err, ErrNoSection) {
		return i.infoBehind()
	}
	if err != nil {
		return "", err
	}
	info, begins := strings.CutPrefix(text, infoBegin)
	info, ends := strings.CutSuffix(info, infoEnd)
	if !begins || !ends {
		return "", fmt.Errorf("section .sdmagic says %q: %w", text, ErrFormat)
	}
	return info, nil
}

// What is around the text in the program, and how much is looked at to find it.
const (
	infoBegin, infoEnd = "#### LoaderInfo: ", " ####"
	maxInfo            = 1 << 20
)

func (i *Image) infoBehind() (string, error) {
	data := make([]byte, min(i.behind.Size(), maxInfo))
	if _, err := i.behind.ReadAt(data, 0); err != nil && err != io.EOF {
		return "", fmt.Errorf("read what is behind the sections: %w", err)
	}
	_, behind, begins := bytes.Cut(data, []byte(infoBegin))
	info, _, ends := bytes.Cut(behind, []byte(infoEnd+"\x00"))
	if !begins || !ends || bytes.IndexByte(info, 0) >= 0 {
		return "", fmt.Errorf("section .sdmagic, or its text behind all sections: %w", ErrNoSection)
	}
	return string(info), nil
}

// Release returns the fields of the image's os-release section.
func (i *Image) Release() (map[string]string, error) {
	text, err := i.Text(OSRelease)
	if err != nil {
		return nil, err
	}
	return ParseRelease(text), nil
}

// Version returns the VERSION_ID of the image's os-release section: what the system calls itself when it runs. It is
// empty where there is no such section, or none in it.
func (i *Image) Version() (string, error) {
	release, err := i.Release()
	if errors.Is(err, ErrNoSection) {
		return "", nil
	}
	return release["VERSION_ID"], err
}
