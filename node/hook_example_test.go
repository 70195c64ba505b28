package node_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/node"
)

// The sequence around an upgrade: everything that can fail comes first, then the node is disturbed, then one write arms
// the trial. The drain fails the first time: the node is uncordoned again and nothing is armed.
func Example_sequence() {
	ctx := context.Background()
	machine, two := booted(ctx)
	defer os.RemoveAll(filepath.Dir(machine.Disk))
	budget := fmt.Errorf("a disruption budget does not allow it")
	hook := func(p node.Phase, do func() error) node.Hook {
		return node.Hook{Phase: p, Name: "cluster", Run: func(context.Context, node.Occasion) error {
			fmt.Println(p)
			return do()
		}}
	}
	fine := func() error { return nil }
	machine.Hooks = []node.Hook{
		hook(node.PhaseCordon, fine),
		hook(node.PhaseDrain, func() error { return budget }),
		hook(node.PhaseUncordon, fine),
	}
	restarted := make(chan struct{})
	machine.Reboot = func(context.Context, string) error { close(restarted); return nil }
	s, err := node.New(machine)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		op, err := s.Upgrade(ctx, node.UpgradeRequest{Image: two, Reboot: true})
		if err != nil {
			log.Fatal(err)
		}
		err = op.Follow(ctx, 0, func(e node.Event) error {
			if armed, ok := e.Told.(node.Armed); ok {
				fmt.Println("the next boot is the trial of", armed.Expected.Version, "in slot", armed.Expected.Slot)
			}
			return nil
		})
		fmt.Println(err)
		budget = nil
	}
	<-restarted
	// Output:
	// cordon
	// drain
	// uncordon
	// drain: hook "cluster": a disruption budget does not allow it
	// cordon
	// drain
	// the next boot is the trial of 2.0.0 in slot B
	// <nil>
}
