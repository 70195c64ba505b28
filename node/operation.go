package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Operation is something that changes the node. It keeps what it told, so that any number of readers can follow it,
// from its beginning and each at its own pace.
type Operation struct {
	name  string
	begun time.Time
	brief bool           // it is our own and soon over, so others wait for it
	asked UpgradeRequest // that it answers; zero if it is no upgrade, or nobody may join it
	log   *journal

	cancel context.CancelFunc // ends it before its commit point; nil if nothing does
	byHand atomic.Bool        // it was cancelled so
	ended  chan struct{}      // closed when it is over

	mu      sync.Mutex
	events  []*Event      // ids rise; an event is not changed once it is here
	changed chan struct{} // closed at the next change
	readers int
	over    bool
	err     error
}

func newOperation(name string, log *journal) *Operation {
	op := &Operation{name: name, begun: time.Now(), changed: make(chan struct{}), ended: make(chan struct{}), log: log}
	return op
}

func (s *Server) newOperation(name string) *Operation { return newOperation(name, s.journal) }

// newBrief is what the service does by itself.
func (s *Server) newBrief(name string) *Operation {
	op := s.newOperation(name)
	op.brief = true
	return op
}

// begin tells the journal that the operation has its turn.
func (op *Operation) begin() {
	op.log.add(op.name, Turn{})
}

// Follow calls each with the events after the one with id since (0: all) until the operation is over, and returns the
// operation's error. It returns early with the error of ctx or of each; the operation goes on.
func (op *Operation) Follow(ctx context.Context, since uint64, each func(Event) error) error {
	op.read(+1)
	defer op.read(-1)
	for {
		op.mu.Lock()
		next := behind(op.events, since)
		over, err, changed := op.over, op.err, op.changed
		op.mu.Unlock()
		switch {
		case next != nil:
			if err := each(*next); err != nil {
				return err
			}
			since = next.ID
		case over:
			return err
		default:
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// tell adds to what is told. Progress in bytes replaces earlier progress in bytes of the same step, so the list stays
// short.
func (op *Operation) tell(t Told) {
	op.mu.Lock()
	defer op.mu.Unlock()
	e := op.log.add(op.name, t)
	if n := len(op.events); n > 0 && replaces(e, op.events[n-1]) {
		op.events = op.events[: n-1 : n-1]
	}
	op.events = append(op.events, e)
	op.announce()
}

// endWith tells what was armed, if anything was, and ends the operation.
func (op *Operation) endWith(armed *Armed, err error) {
	if armed != nil {
		op.tell(*armed)
	}
	op.end(err)
}

func (op *Operation) end(err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.over, op.err = true, err
	close(op.ended)
	op.log.add(op.name, Turn{Done: true, Err: err})
	op.announce()
}

// announce wakes who waits; op.mu is held.
func (op *Operation) announce() {
	close(op.changed)
	op.changed = make(chan struct{})
}

func (op *Operation) read(n int) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.readers += n
	op.announce()
}

// drained waits until the operation is over and all its readers have gone, or ctx is done.
func (op *Operation) drained(ctx context.Context) {
	for {
		op.mu.Lock()
		done, changed := op.over && op.readers == 0, op.changed
		op.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// progress is the last progress that was told; nil if there was none.
func (op *Operation) progress() *Progress {
	op.mu.Lock()
	defer op.mu.Unlock()
	for _, e := range slices.Backward(op.events) {
		if p, ok := e.Told.(Progress); ok {
			return &p
		}
	}
	return nil
}

// notice is what the task that runs told last; empty when it told nothing, or none runs.
func (op *Operation) notice() Notice {
	op.mu.Lock()
	defer op.mu.Unlock()
	if n := len(op.events); n > 0 {
		text, _ := op.events[n-1].Told.(Notice)
		return text
	}
	return ""
}

func (op *Operation) result() (over bool, err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.over, op.err
}
