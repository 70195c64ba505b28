package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// networkFaults are what goes wrong between the machine, the members and everybody else, for three seconds: long enough
// for another member to lead.
var networkFaults = map[string]func(*stage, *real.Network){
	"its member is cut off":   func(_ *stage, n *real.Network) { n.Cut(0) },
	"its member hears nobody": func(_ *stage, n *real.Network) { n.Deafen(0) },
	"the machine is cut off":  func(_ *stage, n *real.Network) { n.Cut(0, n.Node()) },
	"another one is cut off":  func(s *stage, n *real.Network) { n.Cut(1); s.without(1) },
	"the leader is cut off": func(s *stage, n *real.Network) {
		m := s.leader()
		n.Cut(m)
		s.without(m)
	},
	"the network loses packets":  func(_ *stage, n *real.Network) { n.Lose(5) },
	"the network is slow":        func(_ *stage, n *real.Network) { n.Slow(150 * time.Millisecond) },
	"everybody is by themselves": func(_ *stage, n *real.Network) { n.Cut(0); n.Cut(1); n.Cut(2) },
}

// TestNetworkFaultsInEveryPhase is TestFaultsInEveryPhase for members in network namespaces of their own.
func TestNetworkFaultsInEveryPhase(t *testing.T) {
	type apart struct {
		members []*real.Member
		network *real.Network
		others  []string
	}
	from := install(t)
	g := newGrid(1, func() (a apart) {
		a.members, a.network, a.others = real.MembersApart(t, 3)
		return a
	})
	g.run(t, func(t *testing.T) {
		for _, preserve := range []bool{true, false} {
			for _, place := range places {
				if preserve && place == "settle/rejoin" {
					continue // it has not left
				}
				for name, fault := range networkFaults {
					if !long && !(preserve && place == "upgrade/last" && name == "the machine is cut off") {
						continue
					}
					g.cell(t, fmt.Sprintf("preserve=%v %s: %s", preserve, strings.ReplaceAll(place, "/", " "), name),
						func(t *testing.T, a apart) attempt.Attempt {
							s := newStage(t, from, a.members, a.others)
							defer a.network.Mend()
							return s.run(place, preserve, from.two, func(s *stage) {
								fault(s, a.network)
								s.after.Go(func() { time.Sleep(3 * time.Second); s.away.Store(false); a.network.Mend() })
							})
						})
				}
			}
		}
	})
}
