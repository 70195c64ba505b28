// Package chunks cuts content into pieces whose ends follow from the content alone, so that what two versions have in
// common is cut alike in both, wherever it lies. It also holds the table in which an image lists its pieces.
//
// Start with Split, which cuts what a reader has; Cutter does the same for a writer. Table is the list: a builder
// encodes it into the layer, and a node that has some of the chunks already fetches the frames of the others.
//
// The cut is FastCDC with two masks. Sizes, masks and the table of the rolling hash are part of the format, which
// docs/reference/image-format.md describes: another cut needs another version of it. The package is pure.
package chunks

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
)

// Sizes of a chunk in bytes: at least (but for the last), where the mask changes, at most.
const (
	Min    = 4 << 10
	Normal = 16 << 10
	Max    = 64 << 10
)

// A chunk ends where so many of the upper bits of the rolling hash are zero: more before Normal, fewer behind it.
const (
	hardBits = 16
	easyBits = 12
)

// Sum is the beginning of a chunk's SHA-256. It finds a chunk and checks it before it is written; the whole has a
// digest of its own.
type Sum [16]byte

// SumOf is the sum of a chunk.
func SumOf(p []byte) Sum {
	whole := sha256.Sum256(p)
	return Sum(whole[:16])
}

// gear is what each byte adds to the rolling hash: the first eight bytes of the SHA-256 of that byte alone.
var gear = makeGear()

func makeGear() (g [256]uint64) {
	for i := range g {
		sum := sha256.Sum256([]byte{byte(i)})
		g[i] = binary.LittleEndian.Uint64(sum[:])
	}
	return g
}

// Cut is how many bytes the first chunk of p has. What p begins with must go on for Max bytes, or be all that is left.
func Cut(p []byte) int {
	if len(p) <= Min {
		return len(p)
	}
	p = p[:min(len(p), Max)]
	h, i := uint64(0), Min
	for normal := min(len(p), Normal); i < normal; i++ {
		if h = h<<1 + gear[p[i]]; h>>(64-hardBits) == 0 {
			return i + 1
		}
	}
	for ; i < len(p); i++ {
		if h = h<<1 + gear[p[i]]; h>>(64-easyBits) == 0 {
			return i + 1
		}
	}
	return len(p)
}

// Split reads r to its end and gives each chunk to use, with the offset at which it begins. The bytes are valid until
// use returns. An error of r, or of use, ends it; chunks before it were given.
func Split(r io.Reader, use func(at int64, chunk []byte) error) error {
	buffer := make([]byte, 16*Max)
	have, at := 0, int64(0)
	for {
		n, err := io.ReadFull(r, buffer[have:])
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		p := buffer[:have+n]
		for len(p) >= Max || ended && len(p) > 0 {
			n := Cut(p)
			if err := use(at, p[:n]); err != nil {
				return err
			}
			p, at = p[n:], at+int64(n)
		}
		if ended {
			return nil
		}
		have = copy(buffer, p)
	}
}

// Cutter is Split for what is written to it: use is called with each chunk, the last one in Close.
type Cutter struct {
	Use func(chunk []byte) error

	held []byte
}

// Write cuts what is whole by now. It fails only where Use does.
func (c *Cutter) Write(p []byte) (int, error) {
	c.held = append(c.held, p...)
	if len(c.held) < 8*Max { // so that what is left is moved rarely
		return len(p), nil
	}
	return len(p), c.cut(Max)
}

// cut gives chunks away while there are at least so many bytes.
func (c *Cutter) cut(least int) error {
	rest := c.held
	for len(rest) >= least && len(rest) > 0 {
		n := Cut(rest)
		if err := c.Use(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	c.held = c.held[:copy(c.held, rest)]
	return nil
}

// Close gives the last chunks away.
func (c *Cutter) Close() error { return c.cut(1) }
