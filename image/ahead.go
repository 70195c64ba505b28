package image

import (
	"io"
	"sync"
	"time"
)

// ahead reads from a reader in a goroutine of its own, so that fetching, unpacking and writing go on at the same time; and with a
// check, that looks at what was read in a second one. What it holds is bounded: aheadBuffers buffers of aheadSize bytes.
type ahead struct {
	full     chan chunk // as read
	checked  chan chunk // what Read returns
	free     chan chunk
	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup

	current chunk
	offset  int
}

const (
	aheadSize    = 256 << 10
	aheadStart   = 64 << 10 // the first buffer: many layers are smaller
	aheadBuffers = 4
	aheadDelay   = 200 * time.Millisecond // a buffer that is not full is handed on after so long
)

type chunk struct {
	data []byte
	err  error // behind the data
}

// readAhead starts reading. check is given all bytes in order and the error behind them, and returns the error that belongs
// there; nil for none. The caller calls interrupt, sees to it that r.Read returns, and calls wait.
func readAhead(r io.Reader, check func(p []byte, err error) error) *ahead {
	a := &ahead{
		full: make(chan chunk, aheadBuffers), free: make(chan chunk, aheadBuffers),
		stop: make(chan struct{}),
	}
	for range aheadBuffers {
		a.free <- chunk{}
	}
	a.checked = a.full
	if check != nil {
		a.checked = make(chan chunk, aheadBuffers)
		a.running.Go(func() { a.runCheck(check) })
	}
	a.running.Go(func() { a.run(r) })
	return a
}

func (a *ahead) runCheck(check func(p []byte, err error) error) {
	for {
		var c chunk
		select {
		case c = <-a.full:
		case <-a.stop:
			return
		}
		c.err = check(c.data, c.err)
		select {
		case a.checked <- c:
		case <-a.stop:
			return
		}
		if c.err != nil {
			return
		}
	}
}

func (a *ahead) run(r io.Reader) {
	size := aheadStart
	for {
		var c chunk
		select {
		case c = <-a.free:
		case <-a.stop:
			return
		}
		if cap(c.data) < size {
			c.data = make([]byte, size)
		}
		n, err := fill(r, c.data[:size])
		size = aheadSize
		c.data, c.err = c.data[:n], err
		select {
		case a.full <- c:
		case <-a.stop:
			return
		}
		if err != nil {
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

// Read returns what was read, in order, and then the reader's error. After interrupt it is io.ErrClosedPipe.
func (a *ahead) Read(p []byte) (int, error) {
	for a.offset == len(a.current.data) {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.current.data != nil {
			a.free <- chunk{data: a.current.data[:0]}
		}
		a.current, a.offset = chunk{}, 0
		select {
		case a.current = <-a.checked:
		case <-a.stop:
			return 0, io.ErrClosedPipe
		}
	}
	n := copy(p, a.current.data[a.offset:])
	a.offset += n
	return n, nil
}

// interrupt makes Read and the goroutines end; the one that reads does so only when the read it is in returns.
func (a *ahead) interrupt() { a.stopOnce.Do(func() { close(a.stop) }) }

// wait returns when the goroutines have ended.
func (a *ahead) wait() { a.running.Wait() }
