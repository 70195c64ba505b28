package node

import (
	"context"
	"errors"
	"fmt"
)

// Errors of Cancel.
var (
	// ErrNothingToCancel is returned when nothing runs that can be cancelled. Do: nothing.
	ErrNothingToCancel = errors.New("nothing runs that can be cancelled")
	// ErrTooLate is returned when the operation came past its commit point first. Do: Rollback.
	ErrTooLate = errors.New("it is too late to cancel it")
)

// Cancel ends the operation that runs, before its commit point, and waits until it is over and what it did is undone.
// It returns the operation's name and the error that it ended with. [ErrTooLate] is for one that went through all the
// same.
func (s *Server) Cancel(ctx context.Context) (name string, ended error, err error) {
	op, running := s.queue.latest()
	switch {
	case !running:
		return "", nil, fmt.Errorf("cancel: %w", ErrNothingToCancel)
	case op.name == string(stepReboot):
		return "", nil, fmt.Errorf("cancel: the node is about to restart: %w", ErrTooLate)
	case op.cancel == nil:
		return "", nil, fmt.Errorf("cancel: %s is the node's own work, and soon over: %w", op.name, ErrNothingToCancel)
	}
	s.log.Info("cancel", "operation", op.name)
	op.byHand.Store(true)
	op.cancel()
	select {
	case <-op.ended:
	case <-ctx.Done():
		return "", nil, fmt.Errorf("cancel: %s is being cancelled, and is not over yet: %w (its status says when it "+
			"is)", op.name, ctx.Err())
	}
	if _, ended = op.result(); ended == nil {
		return "", nil, fmt.Errorf("cancel: %s is done: %w (a rollback gives it up)", op.name, ErrTooLate)
	}
	return op.name, ended, nil
}

// wasCancelled reports whether somebody cancelled the operation.
func (op *Operation) wasCancelled() bool { return op.byHand.Load() }
