package image

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// ahead reads from a reader in a goroutine of its own, so that fetching, unpacking and writing go on at the same time.
// With a check, a second goroutine looks at the same bytes beside whoever reads them: what it finds is the error at
// their end. What is held is bounded: as many buffers, of the size, as readAhead is told.
type ahead struct {
	full     chan *chunk // as read
	unseen   chan *chunk // the same, for the check; nil without one
	free     chan *chunk
	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup

	judged  chan struct{}         // closed when the check has ended
	refusal atomic.Pointer[error] // of the check

	current *chunk
	offset  int
}

// Sizes were chosen by measuring. What lies in the buffers when a download is cut off is fetched again.
const (
	packedSize, packedBuffers     = 512 << 10, 4
	unpackedSize, unpackedBuffers = 256 << 10, 4

	aheadStart = 64 << 10               // the first buffer: many layers are smaller
	aheadDelay = 200 * time.Millisecond // a buffer that is not full is handed on after so long
)

// chunk is one buffer. It is free again when nobody uses it.
type chunk struct {
	data  []byte
	err   error // behind the data
	users atomic.Int32
}

// readAhead starts reading into so many buffers of a size. check is given all bytes in order and the error behind them,
// and returns the error that belongs there; nil for none. The caller calls interrupt, sees to it that r.Read returns,
// and calls wait.
func readAhead(r io.Reader, buffers, size int, check func(p []byte, err error) error) *ahead {
	a := &ahead{full: make(chan *chunk, buffers), free: make(chan *chunk, buffers), stop: make(chan struct{})}
	for range buffers {
		a.free <- new(chunk)
	}
	if check != nil {
		a.unseen, a.judged = make(chan *chunk, buffers), make(chan struct{})
		a.running.Go(func() { a.runCheck(check) })
	}
	a.running.Go(func() { a.run(r, size) })
	return a
}

func (a *ahead) run(r io.Reader, most int) {
	size := aheadStart
	for {
		var c *chunk
		select {
		case c = <-a.free:
		case <-a.stop:
			return
		}
		if cap(c.data) < size {
			c.data = make([]byte, size)
		}
		var n int
		n, c.err = fill(r, c.data[:size])
		c.data, size = c.data[:n], most
		last := c.err != nil
		c.users.Store(1)
		if a.unseen != nil {
			c.users.Store(2)
			a.unseen <- c
		}
		a.full <- c
		if last {
			return
		}
	}
}

// fill reads until p is full, the reader ends, or it took too long for a start.
func fill(r io.Reader, p []byte) (int, error) {
	n, start := 0, time.Now()
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if n > 0 && time.Since(start) > aheadDelay {
			break
		}
	}
	return n, nil
}

// runCheck looks at all that was read. What it refuses before the end is the end.
func (a *ahead) runCheck(check func(p []byte, err error) error) {
	defer close(a.judged)
	for {
		var c *chunk
		select {
		case c = <-a.unseen:
		case <-a.stop:
			return
		}
		if err := check(c.data, c.err); err != nil {
			a.refusal.Store(&err)
			if c.err == nil {
				a.interrupt()
			}
			return
		}
		a.release(c)
	}
}

func (a *ahead) release(c *chunk) {
	if c.users.Add(-1) == 0 {
		a.free <- c
	}
}

// Read returns what was read, in order, and then the reader's error, or the one of the check. After interrupt it is
// [io.ErrClosedPipe].
func (a *ahead) Read(p []byte) (int, error) {
	for a.current == nil || a.offset == len(a.current.data) {
		if a.current != nil && a.current.err != nil {
			return 0, a.end(a.current.err)
		}
		if a.current != nil {
			a.release(a.current)
		}
		a.current, a.offset = nil, 0
		select {
		case <-a.stop: // first: an error stays
			return 0, a.verdict()
		default:
		}
		select {
		case a.current = <-a.full:
		case <-a.stop:
			return 0, a.verdict()
		}
	}
	n := copy(p, a.current.data[a.offset:])
	a.offset += n
	return n, nil
}

// end is what comes behind the last byte: err, unless there is a check, which has seen err.
func (a *ahead) end(err error) error {
	if a.judged == nil {
		return err
	}
	<-a.judged
	return a.verdict()
}

func (a *ahead) verdict() error {
	if err := a.refusal.Load(); err != nil {
		return *err
	}
	return io.ErrClosedPipe
}

// interrupt makes Read and the goroutines end; the one that reads does so only when the read it is in returns.
func (a *ahead) interrupt() { a.stopOnce.Do(func() { close(a.stop) }) }

// wait returns when the goroutines have ended.
func (a *ahead) wait() { a.running.Wait() }
