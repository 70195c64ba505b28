package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/internal/nearest"
)

// ErrFormat is returned when a file's format is not known, or cannot hold what it is asked to. Do: what the message
// says.
var ErrFormat = errors.New("unsuitable format of a disk image")

// Format is how a disk is held in a file.
type Format string

// Formats. Each can also be packed as a whole; see Kind.
const (
	RawDisk    Format = "raw"         // the bytes of the disk, one to one
	QCOW2      Format = "qcow2"       // QEMU's, version 3
	VHD        Format = "vhd"         // Virtual PC's, fixed: what Azure takes
	VHDDynamic Format = "vhd-dynamic" // the same, with only what is not zero
	VHDX       Format = "vhdx"        // Hyper-V's, dynamic
	VMDK       Format = "vmdk"        // VMware's, stream-optimised
	OVA        Format = "ova"         // a VMDK with a description of a virtual machine
	GCP        Format = "gcp"         // a gzipped tar with a sparse disk.raw, what Google's cloud takes
	ISO        Format = "iso"         // a disk that a CD starts too
)

// codec is what is known of a format.
type codec struct {
	format   Format
	endings  []string // of file names
	large    bool     // holds disks with sectors of 4096 bytes, and QEMU reads it
	packed   bool     // is compressed in itself, as a whole
	whole    int64    // sizes of disks are a multiple of it
	max      int64    // size of a disk in bytes
	compress bool     // Options.Compress means something
	write    func(context.Context, *stream, Source, WriteOptions) error
}

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

var codecs = []codec{
	{RawDisk, []string{".raw", ".img"}, true, false, 1, 1 << 62, false, writeRaw},
	{QCOW2, []string{".qcow2"}, true, false, 1, 256 * tib, true, writeQCOW2},
	{VHD, []string{".vhd"}, false, false, mib, 2040 * gib, false, writeVHD},
	{VHDDynamic, nil, false, false, mib, 2040 * gib, false, writeVHDDynamic},
	{VHDX, []string{".vhdx"}, false, false, mib, 64 * tib, false, writeVHDX},
	{VMDK, []string{".vmdk"}, false, false, 1, 2 * tib, false, writeVMDK},
	{OVA, []string{".ova"}, false, false, 1, 2 * tib, false, writeOVA},
	{GCP, []string{".tar.gz"}, false, true, gib, 64 * tib, false, writeGCP},
	{ISO, []string{".iso"}, false, false, isoSector, 8 * tib, false, writeISO},
}

// FileType is a format, and how the file is packed as a whole: "" for not at all, or one of Packings.
type FileType struct {
	Format  Format
	Packing string
}

// String is what [ParseFileType] reads: qcow2, raw.zst.
func (k FileType) String() string {
	if k.Packing == "" {
		return string(k.Format)
	}
	return string(k.Format) + "." + k.Packing
}

// ParseFileType reads a format with an optional packing, such as qcow2 or raw.zst. Another word is [ErrFormat], with
// the nearest that is one.
func ParseFileType(text string) (FileType, error) {
	name, packing, _ := strings.Cut(text, ".")
	var names []string
	for _, c := range codecs {
		names = append(names, string(c.format))
		if string(c.format) != name {
			continue
		}
		k := FileType{c.format, packing}
		return k, k.check()
	}
	hint := nearest.Hint(name, names)
	return FileType{}, fmt.Errorf("format %q: want %s%s: %w", name, strings.Join(names, ", "), hint, ErrFormat)
}

// FileTypeOf tells by its ending what a file is to be: disk.qcow2, disk.raw.zst. A name without an ending is a raw
// disk; an unknown ending is [ErrFormat], with the nearest that is known.
func FileTypeOf(path string) (FileType, error) {
	name := strings.ToLower(filepath.Base(path))
	var endings []string
	for _, c := range codecs {
		for _, e := range c.endings {
			endings = append(endings, e)
			if strings.HasSuffix(name, e) {
				return FileType{Format: c.format}, nil
			}
		}
	}
	for _, p := range packers {
		endings = append(endings, "."+p.name)
		if inner, ok := strings.CutSuffix(name, "."+p.name); ok {
			k, err := FileTypeOf(inner)
			if k.Packing != "" {
				err = fmt.Errorf("%s: packed twice: %w", path, ErrFormat)
			}
			k.Packing = p.name
			return k, errors.Join(err, k.check())
		}
	}
	ending := filepath.Ext(name)
	if ending == "" || ending == name {
		return FileType{Format: RawDisk}, nil
	}
	hint := nearest.Hint(ending, endings)
	return FileType{}, fmt.Errorf("ending %q names no format, want %s%s: %w", ending, strings.Join(endings, " "), hint,
		ErrFormat)
}

// check refuses what cannot be packed, or not like that.
func (k FileType) check() error {
	if k.Packing == "" || k.Format == "" {
		return nil
	}
	var names []string
	for _, p := range packers {
		names = append(names, p.name)
	}
	switch {
	case !slices.Contains(names, k.Packing):
		hint := nearest.Hint(k.Packing, names)
		if k.Packing == "xz" {
			hint = fmt.Sprintf("; write the %s to standard output, into xz -T0", k.Format)
		}
		return fmt.Errorf("packing %q: want %s%s: %w", k.Packing, strings.Join(names, " or "), hint, ErrFormat)
	case k.codec().packed:
		return fmt.Errorf("%s is packed in itself: leave .%s out: %w", k.Format, k.Packing, ErrFormat)
	}
	return nil
}

func (k FileType) codec() codec {
	return codecs[slices.IndexFunc(codecs, func(c codec) bool { return c.format == k.Format })]
}

// Fits refuses a disk that the format does not hold: [ErrFormat], which names one that does.
func (k FileType) Fits(size int64, sectorSize int, compress bool) error {
	c := k.codec()
	switch {
	case sectorSize != 512 && !c.large:
		return fmt.Errorf("%s holds disks with sectors of 512 bytes only; raw and qcow2 hold those of %d: %w",
			k.Format, sectorSize, ErrFormat)
	case size%c.whole != 0:
		return fmt.Errorf("%s holds disks of whole %s only, this one has %d bytes; the next such size is %d: %w",
			k.Format, map[int64]string{isoSector: "2 KiB", mib: "MiB", gib: "GiB"}[c.whole], size, (size/c.whole+1)*c.whole, ErrFormat)
	case size > c.max:
		return fmt.Errorf("%s holds disks of at most %d bytes, this one has %d: %w", k.Format, c.max, size, ErrFormat)
	case compress && !c.compress:
		return fmt.Errorf("%s is never or always compressed in itself; %s can be, or pack it as %s.zst: %w",
			k.Format, QCOW2, k.Format, ErrFormat)
	}
	return nil
}

// Source is a disk that is written into a file. A Raw is one, and what OpenImage opens.
type Source interface {
	io.ReaderAt
	Size() int64     // bytes
	SectorSize() int // bytes: 512 or 4096
}

// WriteOptions are what a disk does not say itself. The same options and the same bytes on the disk make the same file.
type WriteOptions struct {
	ID       uuid.UUID        // where the format has one; two with the same look like one to some programs
	Time     time.Time        // of its making, where the format has one; zero is 1970
	Compress bool             // each cluster of a qcow2
	Name     string           // of the virtual machine in an OVA, or of the volume of an ISO; "" is "disk"
	BIOS     bool             // what an OVA's machine or an ISO starts with is a BIOS, not UEFI
	Both     bool             // an ISO starts by UEFI and by a BIOS, an OVA's machine by what BIOS says
	EFI      Area             // the EFI partition; ISO only
	Progress func(done int64) // bytes of the disk that are through; may be nil
}

// Write writes the disk to w. It goes through the disk once to see what is not zero, and once to copy that; w is only
// appended to, unless it is an *os.File that can be written anywhere. Memory does not grow with the disk but for a bit
// for each block of it, and eight bytes in the formats' own tables.
func (k FileType) Write(ctx context.Context, w io.Writer, src Source, o WriteOptions) (err error) {
	if err := errors.Join(k.check(), k.Fits(src.Size(), src.SectorSize(), o.Compress)); err != nil {
		return err
	}
	c := k.codec()
	s := newStream(w)
	if k.Packing == "" {
		return errors.Join(c.write(ctx, s, src, o), s.close())
	}
	p := newPacker(k.Packing, s)
	err = c.write(ctx, newStream(p), src, o)
	if e := p.Close(); e != nil {
		err = e // the cause, where writing into it failed
	}
	return errors.Join(err, s.close())
}
