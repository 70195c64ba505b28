package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/upgrade/mirror"
)

// Repair removes what stands in an upgrade's way and is certainly harmless to remove (upgrade.Machine.Repair), and
// brings a second boot file system in step, in its turn like every operation. What boots by itself stays. In a trial it
// is refused.
func (s *Server) Repair(ctx context.Context) error {
	op := s.newOperation("repair")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		err := s.with(false, func(m machine) error {
			if err := m.Repair(ctx); err != nil {
				return err
			}
			_, err := s.keepMirror(ctx, m, mirror.KeepOptions{Deep: true, Move: true})
			if errors.Is(err, mirror.ErrNone) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		return nil
	})
}
