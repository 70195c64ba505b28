package node

import (
	"context"
	"sync"
)

// shared does one thing at a time for all who ask for it, however many. Who asks while it is being done gets what is
// done next, so that nobody hears of a time before he asked. What nobody waits for any more is cancelled.
type shared[T any] struct {
	do   func(context.Context) (T, error)
	life context.Context // of whatever is done

	mu      sync.Mutex
	running *run[T]
	next    *run[T]
}

type run[T any] struct {
	ctx     context.Context
	cancel  context.CancelFunc
	waiting int // who waits
	done    chan struct{}
	value   T
	err     error
}

// ask returns what was done after it was called, or the error of ctx.
func (s *shared[T]) ask(ctx context.Context) (T, error) {
	r := s.join()
	select {
	case <-r.done:
	case <-ctx.Done():
		s.leave(r)
		var none T
		return none, ctx.Err()
	}
	return r.value, r.err
}

func (s *shared[T]) join() *run[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &run[T]{done: make(chan struct{})}
		s.next.ctx, s.next.cancel = context.WithCancel(s.life)
	}
	r := s.next
	r.waiting++
	if s.running == nil {
		s.begin()
	}
	return r
}

// begin begins what is next; s.mu is held.
func (s *shared[T]) begin() {
	s.running, s.next = s.next, nil
	if r := s.running; r != nil {
		go func() {
			defer r.cancel()
			r.value, r.err = s.do(r.ctx)
			close(r.done)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.begin()
		}()
	}
}

func (s *shared[T]) leave(r *run[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.waiting--; r.waiting > 0 {
		return
	}
	r.cancel()
	if s.next == r {
		s.next = nil
	}
}
