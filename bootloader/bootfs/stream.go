package bootfs

import (
	"fmt"
	"io"

	"github.com/pawl-os/pawl/partition/device"
)

const (
	writerBuffer = 256 << 10 // bytes that a writer holds at most
	backAfter    = 8 << 20   // bytes after which write-back is started
)

// Write appends to the file. More than the promised size is an error.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.check(int64(len(p))); err != nil {
		return 0, err
	}
	total := len(p)
	for len(p) > 0 {
		// Large pieces go to the device as they are.
		if n := len(p) &^ (writerBuffer - 1); len(w.buf) == 0 && n > 0 {
			if err := w.out(p[:n]); err != nil {
				return total - len(p), err
			}
			p = p[n:]
			continue
		}
		w.allocate()
		n := copy(w.buf[len(w.buf):cap(w.buf)], p)
		w.buf = w.buf[:len(w.buf)+n]
		p = p[n:]
		if err := w.spill(); err != nil {
			return total - len(p), err
		}
	}
	return total, nil
}

// ReadFrom appends what r has. It spares [io.Copy] its own buffer.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for empty := 0; ; empty++ {
		if err := w.check(0); err != nil {
			return total, err
		}
		w.allocate()
		space := w.buf[len(w.buf):cap(w.buf)]
		if len(space) == 0 {
			space = make([]byte, 1) // the file is whole: see that nothing follows
		}
		n, err := r.Read(space)
		if err := w.check(int64(n)); err != nil {
			return total, err
		}
		if n > 0 {
			empty = 0
		}
		if empty > 100 {
			return total, io.ErrNoProgress
		}
		w.buf = w.buf[:len(w.buf)+n]
		total += int64(n)
		if spilled := w.spill(); spilled != nil {
			return total, spilled
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (w *Writer) check(n int64) error {
	if w.err == nil && w.done+int64(len(w.buf))+n > w.size {
		w.err = fmt.Errorf("write %s: more than the %d bytes that were announced", w.path, w.size)
	}
	return w.err
}

// allocate makes the buffer, no larger than the file.
func (w *Writer) allocate() {
	if w.buf == nil {
		w.buf = make([]byte, 0, min(writerBuffer, (w.size/blockSize+1)*blockSize))
	}
}

func (w *Writer) spill() error {
	if len(w.buf) < cap(w.buf) || w.done+int64(len(w.buf)) == w.size {
		return nil // the last piece waits for Close
	}
	err := w.out(w.buf)
	w.buf = w.buf[:0]
	return err
}

// out writes whole sectors to the clusters that come next.
func (w *Writer) out(p []byte) error {
	v := &w.f.vol
	for len(p) > 0 {
		run := w.runs[w.run]
		length := int64(run.count) * int64(v.cluster)
		n := min(int64(len(p)), length-w.pos)
		off := v.offset(run.first) + w.pos
		if err := w.f.write(off, p[:n]); err != nil {
			w.err = fmt.Errorf("write %s: %w", w.path, err)
			return w.err
		}
		if err := w.back.add(w.f.dev, off, n); err != nil {
			w.f.broken = err
			w.err = fmt.Errorf("write %s: %w", w.path, err)
			return w.err
		}
		w.done += n
		p = p[n:]
		if w.pos += n; w.pos == length {
			w.run, w.pos = w.run+1, 0
		}
	}
	return w.follow()
}

// backlog starts the write-back of what was written, in large pieces, so that the flush at the end has little left.
type backlog struct{ start, end int64 }

func (b *backlog) add(dev device.Device, off, n int64) error {
	backer, ok := dev.(device.Backer)
	if !ok {
		return nil
	}
	if b.end != off {
		if err := b.drain(backer); err != nil {
			return err
		}
		b.start = off
	}
	if b.end = off + n; b.end-b.start >= backAfter {
		return b.drain(backer)
	}
	return nil
}

func (b *backlog) drain(backer device.Backer) error {
	start, n := b.start, b.end-b.start
	b.start = b.end
	if n == 0 {
		return nil
	}
	if err := backer.WriteBack(start, n); err != nil {
		return fmt.Errorf("start writing back %d bytes at %d: %w", n, start, err)
	}
	return nil
}

// last writes what is left in the buffer, with zeros up to the end of its block or cluster: a block that was destroyed
// earlier is healed only when it is written whole.
func (w *Writer) last() error {
	if len(w.buf) == 0 {
		return nil
	}
	whole := min(blockSize, w.f.vol.cluster)
	pad := (whole - len(w.buf)%whole) % whole
	if err := w.out(append(w.buf, make([]byte, pad)...)); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return nil
}
