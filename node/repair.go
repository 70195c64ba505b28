package node

import (
	"context"
	"fmt"
)

// Repair removes what stands in an upgrade's way and is certainly harmless to remove (upgrade.Machine.Repair), in its
// turn like every operation. What boots by itself stays. In a trial it is refused.
func (s *Server) Repair(ctx context.Context) error {
	op := s.newOperation("repair")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		if err := s.with(false, func(m machine) error { return m.Repair(ctx) }); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		return nil
	})
}
