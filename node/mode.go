package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Ways to restart a machine, as the API names them.
const (
	ModeAuto       = "auto"       // kexec into a slot that has proved itself, the firmware for a trial; also when empty
	ModeKexec      = "kexec"      // kexec also for a trial: see Server.Upgrade
	ModePowercycle = "powercycle" // always through the firmware
)

func checkMode(mode string) error {
	switch mode {
	case "", ModeAuto, ModeKexec, ModePowercycle:
		return nil
	}
	return fmt.Errorf("reboot mode %q: want %s, %s or %s: %w", mode, ModeAuto, ModeKexec, ModePowercycle, ErrRequest)
}

// errNoJump is why a service that is not PID 1 goes through the firmware.
var errNoJump = errors.New("this service is not the system's PID 1, and was given no way to start a kernel")

// canJump says why a loaded kernel could not be started by this service, before one is loaded.
func (s *Server) canJump() error {
	if s.config.Kexec != nil {
		return nil
	}
	if s.config.ownReboot || os.Getpid() != 1 {
		return errNoJump
	}
	return nil
}

// load loads the kernel of a slot if the mode allows it. Whatever is in the way is told and is no error: the machine
// then goes through the firmware.
func (s *Server) load(tell teller, m machine, slot bootloader.Slot, trial bool, mode string) (loaded bool) {
	if mode == ModePowercycle || trial && mode != ModeKexec {
		return false
	}
	check := Check{Name: "kexec into slot " + string(slot), Run: func(context.Context) error {
		if err := s.canJump(); err != nil {
			return err
		}
		if err := s.kexecCheck(); err != nil {
			return err
		}
		k, err := m.Kernel(slot)
		if err != nil {
			return err
		}
		return s.kexecLoad(k)
	}}
	if err := s.task(s.ctx, tell, "load", check); err != nil {
		s.log.Warn("the machine restarts through its firmware", "reason", err)
		return false
	}
	return true
}

// loadNext loads the kernel that boots next by itself, unless that is a trial.
func (s *Server) loadNext(tell teller, m machine, mode string) (loaded bool) {
	st, err := m.Status()
	switch {
	case err != nil:
		s.log.Warn("the machine restarts through its firmware", "reason", err)
		return false
	case st.Loader.Armed != bootloader.None || st.Loader.Default == bootloader.None:
		return false
	}
	return s.load(tell, m, st.Loader.Default, false, mode)
}

// jump starts the loaded kernel. It returns only with why it could not.
func (s *Server) jump(ctx context.Context, reason string) error {
	if s.config.Kexec != nil {
		return s.config.Kexec(ctx, reason)
	}
	return kexec.Jump()
}

// rearm arms the trial in the loader, when the kernel that was to try it could not be started.
func (s *Server) rearm(ctx context.Context) error {
	return s.with(false, func(m machine) error {
		st, err := m.Status()
		if err != nil {
			return err
		}
		if a := st.Attempt; a == nil || a.State != attempt.Armed || st.Loader.Armed != bootloader.None {
			return nil
		}
		_, err = m.Arm(ctx, upgrade.Options{Tries: st.Attempt.Tries, Way: st.Attempt.Way})
		return err
	})
}
