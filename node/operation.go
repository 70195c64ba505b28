package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// Operation is something that changes the node. It keeps what it told, so that any number of readers can follow it, from
// its beginning and each at its own pace.
type Operation struct {
	name  string
	begun time.Time
	brief bool // it is our own and soon over, so others wait for it
	asked any  // the request that it answers; nil if nobody may join it
	log   *journal

	cancel context.CancelFunc // ends it before its commit point; nil if nothing does
	byHand atomic.Bool        // it was cancelled so
	ended  chan struct{}      // closed when it is over

	mu      sync.Mutex
	events  []*pawlv1.Event // ids rise; an event is not changed once it is here
	changed chan struct{}   // closed at the next change
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
	op.log.add(op.name, &pawlv1.Event{Event: &pawlv1.Event_Sequence{Sequence: &pawlv1.Sequence{}}})
}

// Follow calls each with the events after the one with id since (0: all) until the operation is over, and returns the
// operation's error. It returns early with the error of ctx or of each; the operation goes on.
func (op *Operation) Follow(ctx context.Context, since uint64, each func(*pawlv1.Event) error) error {
	op.read(+1)
	defer op.read(-1)
	for {
		op.mu.Lock()
		next := behind(op.events, since)
		over, err, changed := op.over, op.err, op.changed
		op.mu.Unlock()
		switch {
		case next != nil:
			if err := each(next); err != nil {
				return err
			}
			since = next.Id
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

// tell adds e to what is told. Progress in bytes replaces earlier progress in bytes of the same step, so the list stays
// short.
func (op *Operation) tell(e *pawlv1.Event) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.log.add(op.name, e)
	if n := len(op.events); n > 0 && replaces(e, op.events[n-1]) {
		op.events = op.events[: n-1 : n-1]
	}
	op.events = append(op.events, e)
	op.announce()
}

// counts reports whether e tells of nothing but bytes.
func counts(e *pawlv1.Event) bool {
	p := e.GetProgress()
	return p != nil && !p.Done && p.Bytes > 0
}

func (op *Operation) end(err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.over, op.err = true, err
	close(op.ended)
	end := &pawlv1.Sequence{Done: true}
	if err != nil {
		end.Error, end.Kind = err.Error(), Kind(err)
	}
	op.log.add(op.name, &pawlv1.Event{Event: &pawlv1.Event_Sequence{Sequence: end}})
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
func (op *Operation) progress() *pawlv1.Progress {
	op.mu.Lock()
	defer op.mu.Unlock()
	for i := len(op.events) - 1; i >= 0; i-- {
		if p := op.events[i].GetProgress(); p != nil {
			return p
		}
	}
	return nil
}

// notice is what the task that runs told last; empty when it told nothing, or none runs.
func (op *Operation) notice() string {
	op.mu.Lock()
	defer op.mu.Unlock()
	if n := len(op.events); n > 0 {
		return op.events[n-1].GetNotice().GetText()
	}
	return ""
}

func (op *Operation) result() (over bool, err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.over, op.err
}
