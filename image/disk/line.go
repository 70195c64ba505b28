package disk

import (
	"runtime"
	"sync/atomic"
)

// job is a piece of work, with room for what goes in and what comes out. It is used again and again.
type job struct {
	at   int64
	in   []byte
	out  []byte
	zero bool // in is all zeros
	err  error
	done chan struct{}
}

// line has several workers at once and takes what they made in the order in which it was put in. So the result does not
// depend on how many there are.
type line struct {
	free, todo, order chan *job
	failed            atomic.Bool
	end               chan error
}

// most workers of a line, which bounds its memory.
const most = 4

// newLine starts the workers: work makes one, which fills out from in. take is called in order, by one goroutine, and
// after an error no more. Room is the size of in.
func newLine(room int, work func() func(*job) error, take func(*job) error) *line {
	workers := min(runtime.GOMAXPROCS(0), most)
	n := workers + 2
	l := &line{make(chan *job, n), make(chan *job, n), make(chan *job, n), atomic.Bool{}, make(chan error, 1)}
	for range n {
		l.free <- &job{in: make([]byte, room), done: make(chan struct{}, 1)}
	}
	for range workers {
		go func() {
			do := work()
			for j := range l.todo {
				j.err = do(j)
				j.done <- struct{}{}
			}
		}()
	}
	go func() {
		var err error
		for j := range l.order {
			<-j.done
			if err == nil {
				err = j.err
			}
			if err == nil {
				err = take(j)
			}
			l.failed.Store(err != nil)
			l.free <- j
		}
		l.end <- err
	}()
	return l
}

// next is an empty job.
func (l *line) next() *job {
	j := <-l.free
	j.in, j.out, j.zero = j.in[:cap(j.in)], j.out[:0], false
	return j
}

// put hands a job in.
func (l *line) put(j *job) {
	l.order <- j
	l.todo <- j
}

// close waits until all is taken.
func (l *line) close() error {
	close(l.todo)
	close(l.order)
	return <-l.end
}
