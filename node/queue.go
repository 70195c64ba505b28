package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrBusy is returned when another operation runs. Do: wait for it, then try again.
var ErrBusy = errors.New("one operation at a time")

// queue lets one operation at a time through.
type queue struct {
	mu      sync.Mutex
	running *Operation    // nil when the queue is free
	last    *Operation    // what ran before
	changed chan struct{} // closed when running changes
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

// enter takes the queue for op, or says at once what holds it.
func (q *queue) enter(op *Operation) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running != nil {
		return fmt.Errorf("%s: %s has been running since %s: %w (wait for it; its status says how far it is)",
			op.name, q.running.name, q.running.begun.UTC().Format(time.RFC3339), ErrBusy)
	}
	q.set(op)
	return nil
}

// enterWhenFree takes the queue for op as soon as it is free.
func (q *queue) enterWhenFree(ctx context.Context, op *Operation) error {
	return q.enterAfter(ctx, op, func(*Operation) bool { return true })
}

// enterSoon takes the queue for op, and waits for nothing but what is brief.
func (q *queue) enterSoon(ctx context.Context, op *Operation) error {
	return q.enterAfter(ctx, op, func(running *Operation) bool { return running.brief })
}

// enterAfter takes the queue for op, after what worth says is worth waiting for.
func (q *queue) enterAfter(ctx context.Context, op *Operation, worth func(running *Operation) bool) error {
	for {
		changed := q.change()
		err := q.enter(op)
		if err == nil {
			return nil
		}
		if running, ok := q.latest(); ok && !worth(running) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// replace hands the queue on from the operation that runs to next, so that nothing slips in between.
func (q *queue) replace(next *Operation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = q.running
	q.set(next)
}

// leave frees the queue.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = q.running
	q.set(nil)
}

// set is called with q.mu held.
func (q *queue) set(op *Operation) {
	q.running = op
	if op != nil {
		op.begin()
	}
	close(q.changed)
	q.changed = make(chan struct{})
}

// change is closed when what runs changes.
func (q *queue) change() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

// latest is what runs, or else what ran before; nil if nothing ever did.
func (q *queue) latest() (op *Operation, running bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running != nil {
		return q.running, true
	}
	return q.last, false
}

// inTurn does what op is for, once enter has got it the queue, and ends it.
func (q *queue) inTurn(ctx context.Context, op *Operation, enter func(context.Context, *Operation) error,
	do func() error) error {
	if err := enter(ctx, op); err != nil {
		return err
	}
	err := do()
	q.leave() // first: who hears of the end may ask for something else at once
	op.end(err)
	return err
}

// briefly does in its turn what the service does by itself.
func (s *Server) briefly(ctx context.Context, name string, do func(*Operation) error) error {
	op := s.newBrief(name)
	return s.queue.inTurn(ctx, op, s.queue.enterWhenFree, func() error { return do(op) })
}
