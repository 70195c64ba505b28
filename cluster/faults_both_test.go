package cluster_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// order is that of the phases of a node that is a member of etcd and a node of Kubernetes: undone in reverse.
var order = []string{"upgrade/lock", "upgrade/cordon", "upgrade/drain", "upgrade/leave", "upgrade/last", "upgrade/arm",
	"settle/rejoin", "settle/uncordon", "settle/unlock"}

// both is TestFaultsInEveryPhase for a node of Kubernetes that is a member of etcd, too, and leaves.
func both(t *testing.T, from installed, fleets []*fleet) {
	type lane struct {
		*fleet
		members []*real.Member
	}
	g := newGrid(1, func() (l lane) {
		l, fleets = lane{fleets[0], real.Members(t, 3)}, fleets[1:]
		return l
	})
	begin := func(t *testing.T, l lane) *stage {
		s := newStage(t, from, l.members, real.URLs(l.members))
		l.join(s)
		return s
	}
	all := map[string]func(*stage, *fleet){}
	for _, name := range []string{"the API server restarts", "its kubelet does nothing"} {
		all[name] = kubernetesFaults[name]
	}
	for _, name := range []string{"its power is cut", "its service is killed", "its member is killed",
		"another one is killed"} {
		all[name] = func(s *stage, _ *fleet) { faults[name](s) }
	}
	g.run(t, func(t *testing.T) {
		g.cell(t, "nothing goes wrong", func(t *testing.T, l lane) attempt.Attempt {
			s := begin(t, l)
			var begun []string
			last := s.run("settle/unlock", false, from.two, func(s *stage) {
				if err := s.whole(t.Context()); err != nil {
					t.Error("the lock is to be given back, and", err)
				}
			}, func(at string) {
				if slices.Contains(order, at) {
					begun = append(begun, at)
				}
			})
			require.Equal(t, order, begun)
			return last
		})
		if !long {
			return // make cluster has the others
		}
		for _, place := range places {
			for name, fault := range all {
				g.cell(t, strings.ReplaceAll(place, "/", " ")+": "+name, func(t *testing.T, l lane) attempt.Attempt {
					return begin(t, l).run(place, false, from.two, func(s *stage) { fault(s, l.fleet) })
				})
			}
		}
	})
}
