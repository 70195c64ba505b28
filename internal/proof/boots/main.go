// Command boots is `make boots`: it boots disks of the proof in QEMU, under OVMF and systemd-boot, and exits 1 if the model
// says something else of one of them. See docs/proof.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/pawl-os/pawl/internal/proof"
)

func main() {
	seed := flag.Int64("seed", 0, "seed of the choice; 0 takes one from the clock")
	cases := flag.Int("cases", 160, "disks to boot")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "pawl-boots-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "boots:", err)
		os.Exit(2)
	}
	o := proof.BootOptions{Seed: *seed, Cases: *cases, Workers: runtime.NumCPU(), Within: 3 * time.Minute, Log: os.Stdout}
	r, err := proof.Boots(ctx, dir, o)
	os.RemoveAll(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "boots:", err)
		os.Exit(2)
	}
	for _, d := range r.Differences {
		fmt.Println("DIFFERS", d)
	}
	fmt.Printf("%d booted the default, %d a trial, %d nothing\n%v\n", r.Default, r.Trial, r.Nothing, r)
	if len(r.Differences) > 0 || r.Cases < *cases {
		os.Exit(1)
	}
}
