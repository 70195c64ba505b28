package cluster_test

import (
	"fmt"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/lock/fleetlock"
	"github.com/pawl-os/pawl/node"
)

// What a node takes part in becomes the hooks and checks of its service.
func Example() {
	c := cluster.Config{Node: "n1", Lock: fleetlock.Lock{URL: "https://lock.example.com", Group: "workers"}}
	config := node.Config{Hooks: cluster.Hooks(c), Checks: cluster.Checks(c)}
	for _, h := range config.Hooks[:2] {
		fmt.Println(h.Phase, h.Name)
	}
	// Output:
	// allow lock
	// lock lock
}
