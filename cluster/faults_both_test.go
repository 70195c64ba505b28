package cluster_test

import (
	"os"
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
func (f *fleet) both(t *testing.T, from installed) {
	members := real.Members(t, 3)
	begin := func(t *testing.T) *stage {
		s := newStage(t, from, members, real.URLs(members))
		f.join(s)
		return s
	}
	all := map[string]func(*stage){
		"the API server restarts":  func(s *stage) { kubernetesFaults["the API server restarts"](s, f) },
		"its kubelet does nothing": func(s *stage) { kubernetesFaults["its kubelet does nothing"](s, f) },
	}
	for _, name := range []string{"its power is cut", "its service is killed", "its member is killed",
		"another one is killed"} {
		all[name] = faults[name]
	}
	cells, confirmed, wrong := 0, 0, 0
	defer func() {
		t.Logf("faults: cells=%d ok=%d wrong=%d confirmed=%d", cells, cells-wrong, wrong, confirmed)
	}()
	cell := func(name string, do func(t *testing.T) attempt.Attempt) {
		if !t.Run(name, func(t *testing.T) {
			cells++
			if do(t).Result == attempt.Confirmed {
				confirmed++
			}
		}) {
			wrong++
		}
	}
	cell("nothing goes wrong", func(t *testing.T) attempt.Attempt {
		s := begin(t)
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
	if os.Getenv("PAWL_LONG") == "" {
		return // make cluster has the others
	}
	for _, place := range places {
		for name, fault := range all {
			cell(strings.ReplaceAll(place, "/", " ")+": "+name, func(t *testing.T) attempt.Attempt {
				return begin(t).run(place, false, from.two, fault)
			})
		}
	}
}
