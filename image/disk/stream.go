package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// stream is where a format is written, front to back. Zeros are left out where w is a file that can be written
// anywhere.
type stream struct {
	w    io.Writer
	file *os.File // nil if w can only be appended to
	at   int64    // bytes written, zeros too
	back int64    // up to where the file's own disk was asked to write
}

// zeroer is a writer that knows a cheaper way for zeros.
type zeroer interface{ Zeros(n int64) error }

// unit is the smallest run of zeros that is left out: a block of most file systems.
const unit = 4096

// early is how much is written before the file's own disk is asked to begin with it, so that less is left to wait for.
const early = 8 << 20

func newStream(w io.Writer) *stream {
	s := &stream{w: w}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			s.file = f // a new one: nothing of a former content shines through
		}
	}
	return s
}

// Write follows [io.Writer].
func (s *stream) Write(p []byte) (n int, err error) {
	if s.file == nil {
		n, err = s.w.Write(p)
		s.at += int64(n)
		return n, err
	}
	n, err = writeSparse(s.file, p, s.at)
	s.at += int64(n)
	if s.at-s.back >= early {
		_ = unix.SyncFileRange(int(s.file.Fd()), s.back, s.at-s.back,
			unix.SYNC_FILE_RANGE_WRITE) // Sync tells what fails
		s.back = s.at
	}
	return n, err
}

// writeSparse writes p at off but for the blocks that are zero.
func writeSparse(f *os.File, p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		end, zero := n, isZero(piece(p, n, off))
		for end < len(p) && isZero(piece(p, end, off)) == zero {
			end += len(piece(p, end, off))
		}
		if !zero {
			if m, err := f.WriteAt(p[n:end], off+int64(n)); err != nil {
				return n + m, err
			}
		}
		n = end
	}
	return len(p), nil
}

// piece is p from n to the next border between blocks.
func piece(p []byte, n int, off int64) []byte {
	return p[n:min(len(p), n+unit-int((off+int64(n))%unit))]
}

var zeros [64 << 10]byte

func isZero(p []byte) bool {
	for ; len(p) > len(zeros); p = p[len(zeros):] {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// zeros writes n zeros.
func (s *stream) zeros(n int64) error {
	if z, ok := s.w.(zeroer); ok {
		s.at += n
		return z.Zeros(n)
	}
	if s.file != nil {
		s.at += n
		return nil
	}
	for n > 0 {
		m, err := s.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// align writes zeros up to a multiple of n.
func (s *stream) align(n int64) error { return s.zeros((n - s.at%n) % n) }

// to writes zeros up to an offset, which lies ahead.
func (s *stream) to(off int64) error {
	if off < s.at {
		panic("disk: a format's parts overlap")
	}
	return s.zeros(off - s.at)
}

// close gives a file its size, which zeros at its end do not.
func (s *stream) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Truncate(s.at)
}

// scratch makes a file without a name for what cannot be written in order, beside the file where that is one. It is
// gone when it is closed.
func (s *stream) scratch() (*os.File, error) {
	dir := ""
	if s.file != nil {
		dir = filepath.Dir(s.file.Name())
	}
	f, err := os.CreateTemp(dir, ".pawl-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
