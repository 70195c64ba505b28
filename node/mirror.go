package node

import (
	"context"
	"errors"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// mirrorWarning is mirror.Warning of this machine.
func (s *Server) mirrorWarning(m machine) string {
	return mirror.Warning(s.lookAtMirror(m))
}

func (s *Server) lookAtMirror(m machine) (mirror.Report, error) {
	on, real := m.(*upgrade.Machine)
	if !real { // of a test
		return mirror.Report{}, mirror.ErrNone
	}
	e, err := mirror.Around(s.config.Disk)
	if err != nil {
		return mirror.Report{}, err
	}
	return mirror.Look(on, e, false)
}

// ownMirror brings the machine's second boot file system in step, once it is settled which version runs by itself.
// As with the loader, its failure is nobody's.
func (s *Server) ownMirror(ctx context.Context) {
	var r mirror.Report
	err := s.with(true, func(m machine) (err error) {
		r, err = s.lookAtMirror(m)
		return err
	})
	switch {
	case errors.Is(err, mirror.ErrNone), err == nil && r.Fine():
		return
	case err != nil:
		s.log.Warn("the second boot file system is not looked at", "reason", err)
		return
	case r.Started:
		s.log.Warn("the second boot file system is left as it is", "reason", r.String())
		return
	}
	err = s.briefly(ctx, "bring the second boot file system in step", func(*Operation) error {
		return s.with(false, func(m machine) error {
			r, err = s.keepMirror(ctx, m, mirror.KeepOptions{})
			return err
		})
	})
	if err != nil {
		s.log.Warn("the second boot file system is not in step", "reason", err)
		return
	}
	s.log.Info("second boot file system", "status", r.String())
}

func (s *Server) keepMirror(ctx context.Context, m machine, o mirror.KeepOptions) (mirror.Report, error) {
	on, real := m.(*upgrade.Machine)
	if !real {
		return mirror.Report{}, mirror.ErrNone
	}
	e, err := mirror.Around(s.config.Disk)
	if err != nil {
		return mirror.Report{}, err
	}
	return mirror.Keep(ctx, on, e, o)
}
