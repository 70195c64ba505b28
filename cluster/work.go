package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func (c Config) cordon(ctx context.Context, o node.Occasion) error {
	return c.Work.Cordon(ctx, o.Attempt.ID)
}

func (c Config) uncordon(ctx context.Context, o node.Occasion) error {
	c.back(ctx, o)
	return c.Work.Uncordon(ctx, o.Attempt.ID, outcome(o.Attempt))
}

// outcome is what became of an attempt, for people.
func outcome(a attempt.Attempt) string {
	switch {
	case a.Result == attempt.Confirmed:
		return "version " + a.Version + " is confirmed"
	case a.Result == attempt.FellBack:
		return fmt.Sprintf("back in version %s, since %s did not prove itself: %s", a.Old, a.Version, a.Reason)
	}
	return fmt.Sprintf("the %s to version %s is given up", a.Kind, a.Version)
}

// restartTime bounds how long it is told that the node goes down. It is for people: what follows does not wait for it.
const restartTime = 5 * time.Second

func (c Config) restarts(ctx context.Context, o node.Occasion) {
	if c.Work == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	c.Work.Restarts(ctx, fmt.Sprintf("Restarts to try version %s, attempt %s", o.Attempt.Version, o.Attempt.ID))
}
