package cluster_test

import (
	"os"
	"sync"
	"testing"

	"github.com/pawl-os/pawl/upgrade/attempt"
)

var long = os.Getenv("PAWL_LONG") != ""

// grid runs cells side by side, since they mostly wait. A lane is what cells share one after another: the servers.
type grid[L any] struct {
	lanes chan L

	mu                      sync.Mutex
	cells, confirmed, wrong int
}

// newGrid has four lanes, or n where the sample alone is run.
func newGrid[L any](n int, lane func() L) *grid[L] {
	if long {
		n = 4
	}
	g := &grid[L]{lanes: make(chan L, n)}
	for range n {
		g.lanes <- lane()
	}
	return g
}

// run has the cells run that begin calls, and tells of them once all have ended.
func (g *grid[L]) run(t *testing.T, begin func(t *testing.T)) {
	t.Run("cells", begin)
	t.Logf("faults: cells=%d ok=%d wrong=%d confirmed=%d", g.cells, g.cells-g.wrong, g.wrong, g.confirmed)
}

func (g *grid[L]) cell(t *testing.T, name string, do func(t *testing.T, lane L) attempt.Attempt) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		lane := <-g.lanes
		t.Cleanup(func() { // after all else of the cell
			g.lanes <- lane
			g.mu.Lock()
			defer g.mu.Unlock()
			g.cells++
			if t.Failed() {
				g.wrong++
			}
		})
		if do(t, lane).Result == attempt.Confirmed {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.confirmed++
		}
	})
}
