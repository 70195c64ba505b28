package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/internal/foreign"
)

// ErrTruncated is returned when a disk image ends before what it says that it holds. Do: copy it again.
var ErrTruncated = errors.New("the disk image is cut off")

// ErrReadOnly is returned by writes to a disk image that is not raw. Do: convert it to raw.
var ErrReadOnly = errors.New("disk images of this format are read only")

// Image is a disk in a qcow2 or VHD file, to look at. Its methods are safe for concurrent use.
type Image struct {
	io.ReaderAt
	f      *os.File
	format Format
	size   int64
	sector int
}

// reader is a disk that a format holds.
type reader interface {
	io.ReaderAt
	Size() int64
}

// marks are what files of other formats begin with.
var marks = []struct {
	mark   string
	format string
}{
	{qcowMagic, string(QCOW2)}, {"vhdxfile", string(VHDX)}, {vmdkMagic, string(VMDK)},
	{"# Disk DescriptorFile", string(VMDK)}, {vhdMagic, string(VHDDynamic)}, {"\x28\xb5\x2f\xfd", "zstd"},
	{"\x1f\x8b", "gzip"}, {"\xfd7zXZ\x00", "xz"},
}

// FormatOf tells by the bytes of a file what format it is of: [RawDisk] for what is none that is known, and what is no
// regular file.
func FormatOf(path string) (Format, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return RawDisk, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return formatOf(f, info.Size())
}

func formatOf(f io.ReaderAt, size int64) (Format, error) {
	head := make([]byte, 32)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			return Format(m.format), nil
		}
	}
	end := make([]byte, len(vhdMagic))
	if _, err := f.ReadAt(end, size-vhdFooter); size > vhdFooter && err == nil && string(end) == vhdMagic {
		return VHD, nil
	}
	return RawDisk, nil
}

// OpenImage opens a qcow2 or a VHD to read the disk in it. Anything that cannot be read by itself is refused by name: a
// backing file, encryption, an unknown feature, a file that is cut off. The caller closes it.
func (o Options) OpenImage(path string) (*Image, error) {
	i, err := o.openImage(path)
	if err != nil {
		return nil, fmt.Errorf("open disk image %s: %w", path, err)
	}
	return i, nil
}

func (o Options) openImage(path string) (*Image, error) {
	sector, err := o.sectors()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	format, r, err := decode(f, info.Size())
	if err == nil && r.Size()%int64(sector) != 0 {
		err = fmt.Errorf("%d bytes, want a multiple of the sector size %d", r.Size(), sector)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Image{r, f, format, r.Size(), sector}, nil
}

// decode reads what says where the disk's bytes are.
func decode(f io.ReaderAt, size int64) (Format, reader, error) {
	format, err := formatOf(f, size)
	if err != nil {
		return "", nil, err
	}
	var r reader
	switch format {
	case QCOW2:
		r, err = readQCOW2(f, size)
	case VHD, VHDDynamic:
		r, err = readVHD(f, size)
	case RawDisk:
		err = fmt.Errorf("it is neither a qcow2 nor a VHD: %w", ErrFormat)
	case VHDX, VMDK:
		err = fmt.Errorf("it is a %s, which cannot be read (qemu-img convert -O qcow2 makes what can): %w", format,
			ErrFormat)
	default:
		err = fmt.Errorf("it is packed with %s; unpack it first: %w", format, ErrFormat)
	}
	return format, r, err
}

// Format is what the file is.
func (i *Image) Format() Format { return i.format }

// Size is the disk's size in bytes.
func (i *Image) Size() int64 { return i.size }

// SectorSize is the size of a sector in bytes.
func (i *Image) SectorSize() int { return i.sector }

// WriteAt fails with [ErrReadOnly].
func (i *Image) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("write %s: %w", i.f.Name(), ErrReadOnly)
}

// Sync does nothing: there is nothing to be made durable.
func (i *Image) Sync() error { return nil }

// Close ends the use.
func (i *Image) Close() error { return i.f.Close() }

// fill reads all of p from off on; a file that ends before is ErrTruncated.
func fill(f io.ReaderAt, p []byte, off int64, what string) error {
	n, err := f.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%s ends at byte %d, want %d bytes at %d: %w", what, off+int64(n), len(p), off, ErrTruncated)
	}
	return err
}

// within is ErrTruncated for what does not begin and end in a file of that size.
func within(what string, off, length, size int64) error {
	if off < 0 || length < 0 || off > size-length {
		return fmt.Errorf("%s is at byte %d, and the file has %d: %w", what, off, size, ErrTruncated)
	}
	return nil
}

// readPieces reads pieces of a disk, each by read, which fills p with bytes that lie in one block. It follows
// io.ReaderAt.
func readPieces(p []byte, off, size, block int64, read func(p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: before the start", off)
	}
	n := int64(0)
	for n < int64(len(p)) && off+n < size {
		at := off + n
		m := min(int64(len(p))-n, block-at%block, size-at)
		if err := read(p[n:n+m], at); err != nil {
			return int(n), err
		}
		n += m
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// named is a name out of a file, for a message.
func named(name []byte) string { return fmt.Sprintf("%q", foreign.Text(string(name), 200)) }

// be64 reads the i-th number of a table.
func be64(table []byte, i int64) uint64 { return binary.BigEndian.Uint64(table[i*8:]) }
