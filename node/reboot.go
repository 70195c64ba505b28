package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long answers may take to reach their callers before the node goes down.
const grace = 250 * time.Millisecond

// patience bounds how long an order waits for an answer of the disk.
const patience = 5 * time.Second

// ownTime bounds how long an order waits for what the service does by itself: a confirmation, or the replacement of the
// loader, which reads and writes a file.
const ownTime = 2 * time.Minute

// readersGrace bounds how long a restart waits for slow followers of its operation.
const readersGrace = 2 * time.Second

// after says how an operation goes on once it is over.
type after struct {
	armed  *Armed // told last, when the queue is free again; nil if nothing was armed
	reboot bool
	loaded bool // a kernel was loaded: start it, and do without the firmware
	trial  bool // what was loaded is to be tried
}

// start runs do in the background as the operation of that name, and restarts the machine afterwards if do says so.
// What was asked lets others who ask for the same join.
func (s *Server) start(ctx context.Context, name string, asked UpgradeRequest,
	do func(context.Context, *Operation) (after, error)) (*Operation, error) {
	op := s.newOperation(name)
	op.asked = asked
	ctx, op.cancel = context.WithCancel(ctx)
	cancel := op.cancel
	stop := context.AfterFunc(s.ctx, cancel)
	soon, enough := context.WithTimeout(ctx, ownTime)
	err := s.queue.enterSoon(soon, op)
	enough()
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	go func() {
		defer cancel()
		defer stop()
		then, err := do(ctx, op)
		if err != nil && op.wasCancelled() {
			err = fmt.Errorf("%w (it was cancelled by hand)", err)
		}
		if err != nil {
			s.log.Error(name, "reason", err)
		}
		if !then.reboot {
			s.guard.on(guardRelease, time.Time{})
			s.queue.leave() // first: who hears of the end may ask for something else at once
			op.endWith(then.armed, err)
			return
		}
		s.restart(op, name, then, err)
	}()
	return op, nil
}

// restart ends an operation that holds the queue: its followers are let go, hooks run, then the machine restarts. The
// queue is freed only if that fails.
func (s *Server) restart(op *Operation, reason string, then after, err error) {
	s.guard.on(guardHold, time.Time{})
	next := s.newOperation(string(stepReboot))
	s.queue.replace(next)
	op.endWith(then.armed, err)
	ctx, cancel := context.WithTimeout(s.ctx, readersGrace)
	op.drained(ctx)
	cancel()
	s.at(op.name, PhaseShutdown)
	_, err = s.runHooks(s.ctx, next, Occasion{Phase: PhaseShutdown, Operation: op.name}, true)
	if err != nil {
		s.log.Warn("restart all the same", "reason", err)
	}
	select {
	case <-time.After(grace):
	case <-s.ctx.Done():
	}
	if err := s.ctx.Err(); err != nil {
		s.guard.on(guardRelease, time.Time{})
		s.queue.leave()
		next.end(fmt.Errorf("the node service was stopped before the restart: %w", err))
		return
	}
	if err := s.restartAs(reason, then); err != nil {
		s.queue.leave()
		next.end(err)
		s.settle(s.ctx) // the node goes on, so it is to work
		return
	}
	next.end(nil)
}

// restartAs starts the loaded kernel if there is one, and goes through the firmware otherwise, or when that fails.
func (s *Server) restartAs(reason string, then after) error {
	if !then.loaded {
		return s.restartNow(reason)
	}
	ctx := context.WithoutCancel(s.ctx)
	s.log.Info("start the loaded kernel", "reason", reason)
	if then.trial {
		s.guard.on(guardRestart, time.Time{}) // the trial takes it over
	} else {
		s.guard.on(guardLeave, time.Time{})
	}
	err := s.jump(ctx, reason)
	if err == nil {
		return nil
	}
	s.log.Warn("the machine restarts through its firmware", "reason", err)
	if then.trial {
		if err := s.rearm(ctx); err != nil {
			return fmt.Errorf("arm the trial in the loader: %w", err)
		}
	}
	return s.restartNow(reason)
}

// restartNow restarts the machine through its firmware.
func (s *Server) restartNow(reason string) error {
	s.log.Info("restart", "reason", reason)
	s.guard.on(guardRestart, time.Time{})
	err := s.config.Reboot(context.WithoutCancel(s.ctx), reason)
	if err != nil {
		s.log.Error("the machine does not restart", "reason", err)
		s.guard.on(guardRelease, time.Time{}) // on a trial it counts on
		return fmt.Errorf("restart the machine: %w", err)
	}
	return nil
}

// Reboot restarts the machine soon after it returned, and says what is expected of the next boot. While an operation
// runs that is ErrBusy, unless forced: what it was writing is then as if it never had been. The phases that disturb are
// not run, only [PhaseShutdown]. A disk that does not answer is an error, unless forced or through the firmware
// ([ModePowercycle]).
func (s *Server) Reboot(_ context.Context, r RebootRequest) (Expected, error) {
	if err := checkMode(r.Mode); err != nil {
		return Expected{}, err
	}
	expected := Expected{BootID: s.bootID}
	asking, cancel := context.WithCancel(s.ctx)
	defer cancel()
	known := make(chan Expected, 1)
	go func() { // the disk may be what hangs
		e := expected
		st, err := s.reads.ask(asking)
		if err == nil {
			e = s.expectNext(st)
		} else if asking.Err() == nil {
			s.log.Warn("what the next boot starts is not known", "reason", err)
		}
		known <- e
	}()
	select {
	case expected = <-known:
	case <-time.After(patience):
		s.log.Warn("what the next boot starts is not known", "reason", "the disk does not answer")
		if r.Force { // and is not asked which kernel to load
			go func() {
				time.Sleep(grace)
				_ = s.restartNow("reboot, forced")
			}()
			return expected, nil
		}
		if r.Mode != ModePowercycle {
			return Expected{}, s.deadDisk(patience)
		}
	}
	_, err := s.start(s.ctx, string(stepReboot), UpgradeRequest{}, func(_ context.Context, op *Operation) (after,
		error) {
		then := after{reboot: true}
		if r.Mode != ModePowercycle {
			loaded, err := s.loadSoon(op, r.Mode)
			if err != nil {
				return after{}, err
			}
			then.loaded = loaded
		}
		return then, nil
	})
	if errors.Is(err, ErrBusy) && r.Force {
		go func() {
			time.Sleep(grace)
			_ = s.restartNow("reboot, forced")
		}()
		return expected, nil
	}
	return expected, err
}

// loadTime bounds how long it may take to load a kernel for a restart that was asked for.
const loadTime = time.Minute

// loadSoon loads the kernel that the next boot would start, if it is to be started without the firmware. What does not
// come to its end is left behind, with the disk that does not answer.
func (s *Server) loadSoon(op *Operation, mode string) (loaded bool, err error) {
	done := make(chan bool, 1)
	go func() {
		ok := false
		err := s.with(true, func(m machine) error {
			ok = s.loadNext(op, m, mode)
			return nil
		})
		if err != nil {
			s.log.Warn("no kernel is loaded", "reason", err)
		}
		done <- ok
	}()
	select {
	case loaded = <-done:
		return loaded, nil
	case <-time.After(loadTime):
		return false, s.deadDisk(loadTime)
	case <-s.ctx.Done():
		return false, s.ctx.Err()
	}
}

func (s *Server) deadDisk(after time.Duration) error {
	return fmt.Errorf("reboot: %s has not answered for %s: %w (a forced restart comes all the same)", s.config.Disk,
		after, context.DeadlineExceeded)
}

// Reboot restarts this machine. As PID 1 it does so at once, after everything written has been flushed. Elsewhere it
// asks PID 1 as ctrl-alt-del does (SIGINT: systemd, SysV and BusyBox stop their services and restart); a PID 1 that has
// not done so after two minutes is overruled.
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
