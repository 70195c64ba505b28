// Command rehearsal measures what the rehearsal of an upgrade costs: the plan of an upgrade with it, less the same plan
// without, on a boot file system of 1 GiB whose two slots hold 100 MiB each.
//
//	go run ./internal/lab/bench/rehearsal [-rounds N]
//
// What else the machine does can only add to a time, so the fastest of the rounds counts. The memory is the most that
// the heap held more than before, looked at every 200 µs, likewise, in a round of its own in which garbage is collected
// every few MiB. A row ends in "ok" or "falls short"; the last line is for scripts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

const (
	mib        = 1 << 20
	payload    = 100 * mib
	mostTime   = 300 * time.Millisecond
	mostMemory = 16 // MiB
)

func main() {
	if err := bench(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "rehearsal bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	rounds := flag.Int("rounds", 10, "rounds, of which the fastest counts")
	flag.Parse()
	dir, err := os.MkdirTemp("", "rehearsal-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sys, next, err := machine(ctx, dir)
	if err != nil {
		return err
	}
	cost := time.Hour
	for range *rounds {
		without, _, err := plan(unrehearsed.Context(ctx), sys, next)
		if err != nil {
			return err
		}
		with, _, err := plan(ctx, sys, next)
		if err != nil {
			return err
		}
		cost = min(cost, with-without)
	}
	debug.SetGCPercent(2)
	_, own, err := plan(unrehearsed.Context(ctx), sys, next)
	if err != nil {
		return err
	}
	_, memory, err := plan(ctx, sys, next)
	if err != nil {
		return err
	}
	memory -= min(own, memory)
	short := 0
	verdict := func(good bool) string {
		if good {
			return "ok"
		}
		short++
		return "falls short"
	}
	fmt.Printf("rehearsal, time    %4d ms   at most %d ms %s\n", cost.Milliseconds(), mostTime.Milliseconds(),
		verdict(cost <= mostTime))
	fmt.Printf("rehearsal, memory  %4d MiB  at most %d MiB %s\n", memory/mib, mostMemory,
		verdict(memory <= mostMemory*mib))
	fmt.Printf("rehearsal: bounds=2 short=%d\n", short)
	return nil
}

// machine runs version 2, has version 1 beside it, and is to go on to the image that it returns.
func machine(ctx context.Context, dir string) (*upgrade.Machine, *image.Image, error) {
	images, err := virtual.NewImages(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	var three [3]*image.Image
	for i := range three {
		if three[i], err = images.Image(fmt.Sprintf("%d.0.0", i+1), virtual.Spec{Size: payload}); err != nil {
			return nil, nil, err
		}
	}
	specs := partition.Default(partition.Defaults{Seed: "bench"})
	m := &virtual.Machine{Disk: disktest.New(1300*mib, 512), Vars: efivar.NewMemory()}
	if err := upgrade.Install(ctx, m.Disk, three[0], upgrade.InstallOptions{Loader: sdboot.Backend{}, Partitions: specs,
		Seed: "bench", Now: virtual.Now}); err != nil {
		return nil, nil, err
	}
	if err := m.Boot(); err != nil {
		return nil, nil, err
	}
	if _, err := m.Upgrade(ctx, three[1], upgrade.Options{Force: true}); err != nil {
		return nil, nil, err
	}
	if err := m.Boot(); err != nil {
		return nil, nil, err
	}
	if _, err := m.Started(ctx); err != nil {
		return nil, nil, err
	}
	if _, err := m.Confirm(ctx); err != nil {
		return nil, nil, err
	}
	sys, err := m.Open()
	return sys, three[2], err
}

// plan is how long a plan takes, and how much more the heap held meanwhile.
func plan(ctx context.Context, sys *upgrade.Machine, next *image.Image) (time.Duration, uint64, error) {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		for {
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(200 * time.Microsecond):
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
			}
		}
	}()
	begin := time.Now()
	_, err := sys.Plan(ctx, next, upgrade.Options{Force: true})
	took := time.Since(begin)
	close(stop)
	return took, <-most, err
}
