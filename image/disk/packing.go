package disk

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packers are the ways to pack a file as a whole. Each packs pieces by themselves, which any unpacker reads one after
// the other.
var packers = []struct {
	name string
	make func() func(*job) error
}{
	{"zst", packZstd},
	{"gz", packGzip},
}

// Packings are the names of the ways to pack a file as a whole, which are endings of file names too.
func Packings() (names []string) {
	for _, p := range packers {
		names = append(names, p.name)
	}
	return names
}

// packPiece is how much is packed by itself. Smaller ones cost size, larger ones memory.
const packPiece = 1 << 20

func packZstd() func(*job) error {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(packPiece), zstd.WithLowerEncoderMem(true))
	return func(j *job) error {
		if err != nil {
			return err
		}
		j.out = e.EncodeAll(j.in, j.out)
		return nil
	}
}

func packGzip() func(*job) error {
	z, err := gzip.NewWriterLevel(io.Discard, 5)
	return func(j *job) error {
		if err != nil {
			return err
		}
		out := sink{j.out}
		z.Reset(&out)
		if _, err := z.Write(j.in); err != nil {
			return err
		}
		err := z.Close()
		j.out = out.b
		return err
	}
}

// sink appends.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// packer packs what is written to it.
type packer struct {
	l    *line
	j    *job // open; nil if none
	n    int  // bytes in it
	err  error
	zero bool // they are zero
}

func newPacker(name string, to io.Writer) *packer {
	var blank []byte // what a whole piece of zeros becomes
	p := &packer{}
	for _, how := range packers {
		if how.name != name {
			continue
		}
		work := how.make()
		j := &job{in: make([]byte, packPiece)}
		p.err = work(j)
		blank = j.out
		p.l = newLine(packPiece, func() func(*job) error {
			work := how.make()
			return func(j *job) error {
				if j.zero {
					return nil
				}
				return work(j)
			}
		}, func(j *job) error {
			out := j.out
			if j.zero {
				out = blank
			}
			_, err := to.Write(out)
			return err
		})
	}
	return p
}

// room makes sure that a job is open, and is false once the line has failed.
func (p *packer) room() bool {
	if p.l.failed.Load() || p.err != nil {
		return false
	}
	if p.j == nil {
		p.j, p.n, p.zero = p.l.next(), 0, true
	}
	return true
}

// filled counts bytes, and hands a full job in.
func (p *packer) filled(n int) {
	if p.n += n; p.n == packPiece {
		p.hand()
	}
}

func (p *packer) hand() {
	p.j.in = p.j.in[:p.n]
	p.j.zero = p.zero && p.n == packPiece
	p.l.put(p.j)
	p.j = nil
}

// Write follows [io.Writer]. What went wrong is told by Close.
func (p *packer) Write(b []byte) (int, error) {
	total := len(b)
	for len(b) > 0 {
		if !p.room() {
			return total - len(b), fmt.Errorf("pack: %w", io.ErrClosedPipe)
		}
		n := copy(p.j.in[p.n:], b)
		p.zero = p.zero && isZero(b[:n])
		p.filled(n)
		b = b[n:]
	}
	return total, nil
}

// Zeros is Write of n zeros.
func (p *packer) Zeros(n int64) error {
	for n > 0 {
		if !p.room() {
			return fmt.Errorf("pack: %w", io.ErrClosedPipe)
		}
		m := int(min(n, int64(packPiece-p.n)))
		if !p.zero || m < packPiece {
			clear(p.j.in[p.n : p.n+m])
		}
		p.filled(m)
		n -= int64(m)
	}
	return nil
}

// Close packs the rest. It does not close what is behind.
func (p *packer) Close() error {
	if p.j != nil {
		p.hand()
	}
	if err := p.l.close(); err != nil {
		return err
	}
	return p.err
}
