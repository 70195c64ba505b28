package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// grace is how long answers may take to reach their callers before the node goes down.
const grace = 250 * time.Millisecond

// patience bounds how long an order waits for what the service does by itself, such as a confirmation.
const patience = 5 * time.Second

// readersGrace bounds how long a restart waits for slow followers of its operation.
const readersGrace = 2 * time.Second

// start runs do in the background as the operation of that name, and restarts the machine afterwards if do says so.
func (s *Server) start(ctx context.Context, name string, do func(context.Context, *Operation) (reboot bool, err error)) (*Operation, error) {
	op := newOperation(name)
	soon, cancel := context.WithTimeout(ctx, patience)
	err := s.queue.enterSoon(soon, op)
	cancel()
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	go func() {
		defer cancel()
		defer stop()
		reboot, err := do(ctx, op)
		if err != nil {
			s.log.Error(name, "reason", err)
		}
		if !reboot || err != nil {
			s.queue.leave() // first: who hears of the end may ask for something else at once
			op.end(err)
			return
		}
		s.restart(op, name)
	}()
	return op, nil
}

// restart ends an operation that holds the queue: its followers are let go, then the machine restarts. The queue is
// freed only if that fails.
func (s *Server) restart(op *Operation, reason string) {
	next := newOperation(string(stepReboot))
	s.queue.replace(next)
	op.end(nil)
	ctx, cancel := context.WithTimeout(s.ctx, readersGrace)
	op.drained(ctx)
	cancel()
	select {
	case <-time.After(grace):
	case <-s.ctx.Done():
	}
	if err := s.ctx.Err(); err != nil {
		s.queue.leave()
		next.end(fmt.Errorf("the node service was stopped before the restart: %w", err))
		return
	}
	if err := s.restartNow(reason); err != nil {
		s.queue.leave()
		next.end(err)
		return
	}
	next.end(nil)
}

// restartNow restarts the machine.
func (s *Server) restartNow(reason string) error {
	s.log.Info("restart", "reason", reason)
	err := s.config.Reboot(context.WithoutCancel(s.ctx), reason)
	if err != nil {
		s.log.Error("the machine does not restart", "reason", err)
		return fmt.Errorf("restart the machine: %w", err)
	}
	return nil
}

// Reboot restarts the machine soon after it returned, and says what is expected of the next boot. While an operation
// runs that is ErrBusy, unless force: what it was writing is then as if it never had been.
func (s *Server) Reboot(_ context.Context, force bool) (*pawlv1.Expected, error) {
	expected := &pawlv1.Expected{BootId: s.bootID}
	err := s.with(true, func(m machine) error {
		st, err := m.Status()
		if err == nil {
			expected = s.expectNext(st)
		}
		return err
	})
	if err != nil {
		s.log.Warn("what the next boot starts is not known", "reason", err)
	}
	_, err = s.start(s.ctx, string(stepReboot), func(context.Context, *Operation) (bool, error) { return true, nil })
	if errors.Is(err, ErrBusy) && force {
		go func() {
			time.Sleep(grace)
			_ = s.restartNow("reboot, forced")
		}()
		return expected, nil
	}
	return expected, err
}

// Reboot restarts this machine. As PID 1 it does so at once, after everything written has been flushed. Elsewhere it asks
// PID 1 as ctrl-alt-del does (SIGINT: systemd, SysV and BusyBox stop their services and restart); a PID 1 that has not
// done so after two minutes is overruled.
func Reboot(context.Context, string) error {
	if os.Getpid() == 1 {
		return reboot()
	}
	if err := unix.Kill(1, unix.SIGINT); err != nil {
		return fmt.Errorf("ask PID 1 to restart: %w (the node service needs to run as root)", err)
	}
	time.AfterFunc(2*time.Minute, func() { _ = reboot() })
	return nil
}

func reboot() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
