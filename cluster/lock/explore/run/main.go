// Command run explores every case of package explore, and has every seeded fault found.
package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/pawl-os/pawl/cluster/lock/explore"
)

// atOnce is how many cases are explored at the same time. Each takes about 1 GB for five million states.
const atOnce = 2

func main() {
	states, violations, stuck, seeded := 0, 0, 0, 0
	var mu sync.Mutex
	var group sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for _, c := range explore.Cases() {
		group.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			begun := time.Now()
			r := explore.Explore(c)
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("case  %9d states %6.1fs  %s\n", r.States, time.Since(begun).Seconds(), c.Name)
			states += r.States
			switch {
			case r.Stuck:
				stuck++
			case r.Wrong != "":
				violations++
			}
			show(r)
		})
	}
	group.Wait()
	mutants := explore.Mutants()
	for _, m := range mutants {
		r := m.Explore()
		if r.Wrong == "" {
			fmt.Printf("fault %9d states NOT FOUND: %s\n", r.States, m.Name)
			continue
		}
		seeded++
		fmt.Printf("fault %9d states: %s\n", r.States, m.Name)
		show(r)
	}
	fmt.Printf("explore: states=%d violations=%d stuck=%d seeded=%d/%d\n", states, violations, stuck, seeded,
		len(mutants))
	if violations+stuck > 0 || seeded < len(mutants) {
		os.Exit(1)
	}
}

// show prints what was found, and what leads there.
func show(r explore.Result) {
	if r.Wrong == "" {
		return
	}
	fmt.Println("     ", r.Wrong+":")
	for _, step := range r.Trace {
		fmt.Println("        ", step)
	}
}
