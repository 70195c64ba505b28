package node

import (
	"context"

	"github.com/pawl-os/pawl/upgrade"
)

// ownLoader installs the loader that the running version has brought, once that version is the default: after its
// confirm, and in a later boot where a power cut came between. It is a transaction of its own, and its failure is
// nobody's: the machine goes on with the loader that it has, the log says why, and so does the machine's status.
func (s *Server) ownLoader(ctx context.Context) {
	st, err := s.status(ctx)
	own := st.Own
	switch {
	case err != nil:
		s.log.Warn("the loader is not looked at", "reason", err)
		return
	case own.Own == "":
		return
	case own.Left != nil:
		s.log.Info("the loader is left as it is", "reason", own.String())
		return
	case own.Waits:
		s.log.Info("the next start through the firmware tries the new loader", "status", own.String())
		return
	case own.Same && !s.trial.wasConfirmed():
		return
	}
	err = s.briefly(ctx, "replace the loader", func(*Operation) error {
		return s.with(false, func(m machine) error {
			own, err = m.ReplaceLoader(ctx, upgrade.LoaderOptions{})
			return err
		})
	})
	if err != nil {
		s.log.Warn("the loader is left as it is", "reason", err)
		return
	}
	s.log.Info("loader", "status", own.String())
}

// wasConfirmed reports whether this boot was a trial and was confirmed.
func (t *trial) wasConfirmed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == TrialConfirmed
}
