package rollout_test

import (
	"fmt"
	"time"

	"github.com/pawl-os/pawl/cluster/controller/rollout"
)

// What is decided is written down first. Only the next decision, made of what was written down, gives the order.
func ExampleDecide() {
	in := rollout.Input{
		Spec: rollout.Spec{Image: "registry.example.com/os@sha256:" +
			"2222222222222222222222222222222222222222222222222222222222222222"},
		Nodes: []rollout.Node{{Name: "n1", Ready: true, Version: "1"}, {Name: "n2", Ready: true, Version: "1"}},
		Now:   time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	first := rollout.Decide(in)
	fmt.Println(len(first.Orders), first.Status.Phase)
	in.Status = first.Status
	for _, order := range rollout.Decide(in).Orders {
		fmt.Println(order.Node)
	}
	// Output:
	// 0 Progressing
	// n1
}
