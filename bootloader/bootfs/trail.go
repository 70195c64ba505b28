package bootfs

import (
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/partition/device"
)

// trail makes what is written durable while writing goes on.
type trail struct {
	every   int64
	durable func(n int64)
	asked   int64         // bytes of the file up to which a flush was asked for
	ask     chan int64    // to the goroutine that flushes; nil where the writer flushes itself
	done    chan struct{} // closed when the goroutine has ended
	err     error         // the flush that failed; read after done
}

// Trail makes what is written durable each time that so many more bytes were written, and then tells how many bytes of
// the file are: so a cut costs no more, and they can be read back from the medium meanwhile (see File). Beside means
// that this goes on beside the writing, for a device that can be flushed while it is written; durable is then called
// from another goroutine, and twice as many bytes as named are written and not durable at most. Otherwise Write flushes
// by itself. What is written last is durable when Close returns, which does not tell. Call Trail before the first
// Write.
func (w *Writer) Trail(every int64, beside bool, durable func(n int64)) {
	t := &trail{every: every, durable: durable, asked: w.done}
	w.trail = t
	if !beside {
		return
	}
	t.ask, t.done = make(chan int64), make(chan struct{})
	go t.run(w.f.dev, t.ask)
}

func (t *trail) run(dev device.Device, asked <-chan int64) {
	defer close(t.done)
	for n := range asked {
		if t.err = dev.Sync(); t.err != nil {
			return
		}
		t.durable(n)
	}
}

// follow asks for a flush if it is time. The flush covers all that the device was given so far.
func (w *Writer) follow() error {
	t := w.trail
	if t == nil || w.done-t.asked < t.every {
		return nil
	}
	t.asked = w.done
	n := min(w.done, w.size)
	if t.ask == nil {
		if err := w.Flush(); err != nil {
			return err
		}
		t.durable(n)
		return nil
	}
	select {
	case t.ask <- n:
		return nil
	case <-t.done:
		return w.leave()
	}
}

// leave waits for the flushes beside the writing to end. One that failed is final, as every flush is.
func (w *Writer) leave() error {
	t := w.trail
	if t == nil || t.ask == nil {
		return nil
	}
	close(t.ask)
	t.ask = nil
	<-t.done
	if t.err == nil {
		return nil
	}
	w.f.broken = fmt.Errorf("flush: %w", t.err)
	if w.err == nil {
		w.err = fmt.Errorf("write %s: %w", w.path, w.f.broken)
	}
	return w.err
}

// Flush makes what was written so far durable, but for what is still in the buffer. Only a Writer of Fill can be told
// later how far it came.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if err := w.f.flush(); err != nil {
		w.err = fmt.Errorf("write %s: %w", w.path, err)
	}
	return w.err
}

// Written is how many bytes of the file the device was given: so much can be durable after Flush.
func (w *Writer) Written() int64 { return min(w.done, w.size) }

// File reads what was written, from the clusters that the file has or is to have. What is not written yet reads as
// whatever was there. It may be used while writing goes on, and after Close.
func (w *Writer) File() *File {
	file := &File{f: w.f, dev: w.f.dev, path: w.path, info: Info{Name: w.elems[len(w.elems)-1], Size: w.size}}
	at := uint32(0)
	for _, run := range slices.Clone(w.runs) {
		file.runs = append(file.runs, fileRun{at, run})
		at += run.count
	}
	return file
}
