package kubernetes_test

import (
	"fmt"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/kubernetes"
)

// A worker is cordoned and drained before it restarts, and is uncordoned once it is back and ready.
func Example() {
	work, err := kubernetes.Open(kubernetes.Config{URL: "https://10.0.0.1:6443", Node: "worker-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range cluster.Hooks(cluster.Config{Node: "n1", Work: work}) {
		if h.Name == "work" {
			fmt.Println(h.Phase)
		}
	}
	// Output:
	// cordon
	// drain
	// uncordon
}
