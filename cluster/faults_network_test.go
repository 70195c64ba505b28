package cluster_test

import (
	"fmt"
	"os"
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
	"the network is slow":        func(_ *stage, n *real.Network) { n.Slow(150 * time.Millisecond) },
	"everybody is by themselves": func(_ *stage, n *real.Network) { n.Cut(0); n.Cut(1); n.Cut(2) },
}

// TestNetworkFaultsInEveryPhase is TestFaultsInEveryPhase for members in network namespaces of their own.
func TestNetworkFaultsInEveryPhase(t *testing.T) {
	members, network, others := real.MembersApart(t, 3)
	from := install(t)
	long := os.Getenv("PAWL_LONG") != ""
	cells, confirmed, wrong := 0, 0, 0
	for _, preserve := range []bool{true, false} {
		for _, place := range places {
			if preserve && place == "settle/rejoin" {
				continue // it has not left
			}
			for name, fault := range networkFaults {
				short := preserve && place == "upgrade/last" && name == "the machine is cut off"
				if !long && !short {
					continue
				}
				if !t.Run(fmt.Sprintf("preserve=%v %s: %s", preserve, strings.ReplaceAll(place, "/", " "), name),
					func(t *testing.T) {
						cells++
						s := newStage(t, from, members, others)
						defer network.Mend()
						if s.run(place, preserve, from.two, func(s *stage) {
							fault(s, network)
							s.after.Go(func() { time.Sleep(3 * time.Second); s.away.Store(0); network.Mend() })
						}).Result == attempt.Confirmed {
							confirmed++
						}
					}) {
					wrong++
				}
			}
		}
	}
	t.Logf("faults: cells=%d ok=%d wrong=%d confirmed=%d", cells, cells-wrong, wrong, confirmed)
}
