package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the most that a zstd frame may ask us to remember. Levels up to 19 need 8 MiB.
const maxWindow = 32 << 20

// decoder unpacks a layer. What it is packed with is told by its first bytes, not by a media type.
type decoder struct {
	origin *origin
	reader io.Reader // nil until begin
	packed bool      // known after begin
	stored bool      // it is known not to be packed, whatever its first bytes are
	err    error     // of begin
	close  func()
}

// origin remembers why reading the packed bytes ended, to tell that from what the decoder makes of it.
type origin struct {
	io.Reader
	err error
}

func (o *origin) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		o.err = err
	}
	return n, err
}

func newDecoder(from io.Reader) *decoder {
	return &decoder{origin: &origin{Reader: from}, close: func() {}}
}

// begin waits for the first bytes and looks at them. Its error is that of Read, too.
func (d *decoder) begin() error {
	if d.reader == nil && d.err == nil {
		d.err = d.start()
	}
	return d.err
}

func (d *decoder) Read(p []byte) (int, error) {
	if err := d.begin(); err != nil {
		return 0, d.explain(err)
	}
	n, err := d.reader.Read(p)
	return n, d.explain(err)
}

// explain names an error of the decoder; one of the packed bytes' source stays what it is.
func (d *decoder) explain(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case d.origin.err != nil:
		return d.origin.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("unpacking needs more than %d MiB of memory; pack it without --long or --ultra: %w: %w",
			maxWindow>>20, ErrUnsafe, err)
	}
	return fmt.Errorf("unpack: %w: %w", err, ErrUnreadable)
}

func (d *decoder) start() error {
	magic := make([]byte, 6)
	n, err := io.ReadFull(d.origin, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	magic = magic[:n]
	from := io.MultiReader(bytes.NewReader(magic), d.origin)
	switch {
	case d.stored:
		d.reader = from
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bufio.NewReaderSize(from, 64<<10)) // it is quickest with this kind of reader
		if err != nil {
			return err
		}
		d.reader, d.packed = r, true
	case isZstd(magic):
		r, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		d.reader, d.packed, d.close = r, true, r.Close
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z'}), bytes.HasPrefix(magic, []byte("BZh")):
		return errors.New("it is packed with xz or bzip2; pack it with zstd or gzip")
	default:
		d.reader = from
	}
	return nil
}

// isZstd tells a frame, or a skippable one, by its magic number.
func isZstd(magic []byte) bool {
	if len(magic) < 4 {
		return false
	}
	return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		(magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18}))
}
