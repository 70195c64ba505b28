package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/direct"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// readBack reads one file of a slot back from the device, and hashes it, in goroutines of its own: as far as it is
// known to be durable and no further, so that it can begin while the rest of the file still arrives. Whoever starts one
// stops it.
type readBack struct {
	file    *bootfs.File
	durable atomic.Int64  // bytes that were flushed after they were written
	read    atomic.Int64  // bytes so far
	more    chan struct{} // durable has grown
	came    chan struct{} // read has grown
	done    chan struct{} // closed when the goroutine has ended
	cancel  context.CancelFunc

	sum string // of all bytes; read after done
	err error  // why it ended before the last one; read after done
}

// errDiffers is returned for a file that does not read as it was written.
var errDiffers = errors.New("the device does not keep what is written to it")

const readBackSize = 1 << 20 // bytes; there are two

func startReadBack(ctx context.Context, file *bootfs.File) *readBack {
	ctx, cancel := context.WithCancel(ctx)
	b := &readBack{
		file: file, cancel: cancel,
		more: make(chan struct{}, 1), came: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go func() {
		defer close(b.done)
		b.sum, b.err = b.run(ctx)
	}()
	return b
}

// upTo says that the first n bytes are durable.
func (b *readBack) upTo(n int64) {
	b.durable.Store(n)
	signal(b.more)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one already
	}
}

// run hashes a piece while the next one is read.
func (b *readBack) run(ctx context.Context) (string, error) {
	var err error // why no more pieces come; read when they have ended
	pieces := make(chan []byte)
	go func() {
		defer close(pieces)
		err = b.pieces(ctx, pieces)
	}()
	h := sha256.New()
	for p := range pieces {
		h.Write(p)
		b.read.Add(int64(len(p)))
		signal(b.came)
	}
	return sum(h), err
}

// pieces reads the file and hands it over, in two buffers by turns: who takes the one is done with the other.
func (b *readBack) pieces(ctx context.Context, to chan<- []byte) error {
	size := min(readBackSize, (b.file.Size()/direct.Align+1)*direct.Align)
	now, next := direct.Buffer(int(size)), direct.Buffer(int(size))
	for at := int64(0); at < b.file.Size(); {
		n, err := b.wait(ctx, at)
		if err != nil {
			return err
		}
		p := now[:min(n, size)]
		if got, err := b.file.ReadAt(p, at); got < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		to <- p
		at += int64(len(p))
		now, next = next, now
	}
	return nil
}

// wait returns how many bytes are durable from at on: whole aligned pieces, but for what is less than one.
func (b *readBack) wait(ctx context.Context, at int64) (int64, error) {
	for {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		switch n := b.durable.Load() - at; {
		case n > direct.Align:
			return n - n%direct.Align, nil
		case n > 0:
			return n, nil
		}
		select {
		case <-b.more:
		case <-ctx.Done():
		}
	}
}

// stop ends it, wherever it is.
func (b *readBack) stop() {
	b.cancel()
	<-b.done
}

// is waits for the end and compares. tell is called with the bytes so far.
func (b *readBack) is(f bootloader.File, path string, tell func(n int64)) error {
	for ended := false; !ended; {
		select {
		case <-b.came:
		case <-b.done:
			ended = true
		}
		tell(b.read.Load())
	}
	if b.err != nil {
		return fmt.Errorf("read %s back: %w", path, b.err)
	}
	if b.file.Size() != f.Size || b.sum != f.SHA256 {
		return fmt.Errorf("read %s back: %d bytes with SHA-256 %s, written were %d with %s; %w", path, b.file.Size(), b.sum,
			f.Size, f.SHA256, errDiffers)
	}
	return nil
}

// follow begins to read a file back that is being written. Where only dropping pages leads to the device, that is left
// to the step "verify", when nothing is written any more.
func (op *writing) follow(ctx context.Context, name string, w *bootfs.Writer, every int64) {
	if op.m.Direct == nil {
		w.Trail(every, false, func(int64) {})
		return
	}
	b := startReadBack(ctx, w.File().On(op.m.Direct))
	if op.beside == nil {
		op.beside = map[string]*readBack{}
	}
	op.beside[name] = b
	if op.m.whole { // a flush costs nothing, and promises nothing
		every = readBackSize
	}
	w.Trail(every, true, b.upTo)
}

// stopReading ends all that follow began.
func (op *writing) stopReading() {
	for _, b := range op.beside {
		b.stop()
	}
}

// readBack reads the files of the target back. Those that were followed have only their ends left to be read.
func (op *writing) readBack(ctx context.Context) error {
	return op.m.readBack(ctx, op.plan.To, op.files, op.beside, op.Progress)
}

// readBack reads files of a slot back from the device and compares their digests. Those that are in begun are read
// already. tell may be nil.
func (m *Machine) readBack(
	ctx context.Context, s bootloader.Slot, files []bootloader.File, begun map[string]*readBack,
	tell func(progress.Event),
) error {
	var total, done int64
	followed := true
	for _, f := range files {
		total += f.Size
		followed = followed && begun[f.Name] != nil
	}
	if !followed {
		if err := m.fromDevice(); err != nil {
			return err
		}
	}
	if tell == nil {
		tell = func(progress.Event) {}
	}
	var p progress.Pace
	m.log.Debug("read back from the device", "slot", s, "bytes", total, "how", m.how())
	for _, f := range files {
		b := begun[f.Name]
		if b == nil {
			var err error
			if b, err = m.reads(ctx, s, f); err != nil {
				return err
			}
		}
		defer b.stop()
		err := b.is(f, s.File(f.Name), func(n int64) {
			tell(progress.Event{Step: progress.StepVerify, File: f.Name, Bytes: done + n, Total: total, How: m.how(),
				Whole: p.Amount(m.now(), done+n, total)})
		})
		if err != nil {
			return err
		}
		done += f.Size
	}
	return nil
}

// reads begins to read a file of a slot back.
func (m *Machine) reads(ctx context.Context, s bootloader.Slot, f bootloader.File) (*readBack, error) {
	path := s.File(f.Name)
	in, err := m.Boot.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", path, err)
	}
	if m.Direct != nil {
		in = in.On(m.Direct)
	}
	b := startReadBack(ctx, in)
	b.upTo(f.Size)
	return b, nil
}

// fromDevice makes durable what the slots hold, and sees to it that it is read from the device.
func (m *Machine) fromDevice() error {
	if m.Direct != nil {
		return m.Boot.Sync()
	}
	if m.DropCache == nil {
		return nil
	}
	if err := m.DropCache(); err != nil { // it flushes, too
		return fmt.Errorf("drop cached pages of the boot file system: %w", err)
	}
	return nil
}

// how tells by what way a read-back leads to the device.
func (m *Machine) how() string {
	switch {
	case m.whole:
		return "from the file, which is flushed as a whole"
	case m.Direct != nil:
		return "past the cache (O_DIRECT)"
	case m.DropCache != nil:
		if m.NoDirect != nil {
			return fmt.Sprintf("after dropping pages (%v)", m.NoDirect)
		}
		return "after dropping pages"
	}
	return "from the device, which has no cache"
}
