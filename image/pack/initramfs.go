package pack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrPacking is returned for what is compressed in a way that this package does not unpack. Do: unpack it before.
var ErrPacking = errors.New("compressed in a way that is not unpacked here")

// packings are what the kernel and initramfs of a system are compressed with, by the bytes that they begin with.
var packings = []struct {
	name, magic string
	open        func(io.Reader) (io.ReadCloser, error) // nil: this package does not unpack it
}{
	{"gzip", "\x1f\x8b", nil}, // by gunzip, since something may follow
	{"zstd", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.ReadCloser, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}},
	{"bzip2", "BZh", func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
	{"xz", "\xfd7zXZ", nil},
	{"lz4", "\x02\x21\x4c\x18", nil},
	{"lz4", "\x04\x22\x4d\x18", nil},
	{"lzop", "\x89LZO", nil},
	{"lzma", "\x5d\x00\x00", nil},
}

// packing is how what begins with head is compressed; "" if it is not.
func packing(head []byte) string {
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p.name
		}
	}
	return ""
}

// Initramfs copies an initramfs, unpacked: archives as they are, what is compressed without. Of that, several gzip
// streams may be mixed with archives; another one has to be the last part.
func Initramfs(to io.Writer, from io.Reader) error {
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		head, err := in.Peek(6)
		if len(head) == 0 {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch name := packing(head); {
		case head[0] == 0: // between two parts
			_, err = io.CopyN(to, in, 1)
		case bytes.HasPrefix(head, []byte("07070")):
			err = copyArchive(to, in)
		case name == "gzip":
			err = gunzip(to, in)
		case name != "":
			err = unpackRest(to, in, name)
		default:
			err = fmt.Errorf("a part begins with %q, which is neither an archive nor compressed", head)
		}
		if err != nil {
			return fmt.Errorf("unpack the initramfs: %w", err)
		}
	}
}

// gunzip copies one gzip stream.
func gunzip(to io.Writer, in *bufio.Reader) error {
	r, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	r.Multistream(false)
	_, err = io.Copy(to, r)
	return err
}

// unpackRest copies what is compressed up to the end.
func unpackRest(to io.Writer, in io.Reader, name string) error {
	for _, p := range packings {
		if p.name != name || p.open == nil {
			continue
		}
		r, err := p.open(in)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(to, r)
		return err
	}
	return fmt.Errorf("%s: %w (unpack it before, with `%s -d`)", name, ErrPacking, name)
}

// copyArchive copies one archive, up to the entry that ends it, as cpio writes it with -H newc.
func copyArchive(to io.Writer, in io.Reader) error {
	const size, trailer = 110, "TRAILER!!!\x00"
	for {
		head := make([]byte, size)
		if _, err := io.ReadFull(in, head); err != nil {
			return err
		}
		bytesOf, err := strconv.ParseUint(string(head[54:62]), 16, 32)
		if err != nil {
			return fmt.Errorf("an archive's header has the size %q", head[54:62])
		}
		nameOf, err := strconv.ParseUint(string(head[94:102]), 16, 12)
		if err != nil {
			return fmt.Errorf("an archive's header has a name of %q bytes", head[94:102])
		}
		name := make([]byte, (size+nameOf+3)&^3-size)
		if _, err := io.ReadFull(in, name); err != nil {
			return err
		}
		if _, err := to.Write(append(head, name...)); err != nil {
			return err
		}
		if _, err := io.CopyN(to, in, int64(bytesOf+3)&^3); err != nil {
			return err
		}
		if bytes.HasPrefix(name, []byte(trailer)) {
			return nil
		}
	}
}
