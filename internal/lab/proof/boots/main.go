// Command boots is `make boots`: it boots disks of the proof in QEMU, under real firmware and loaders, and exits 1 if
// the model or the product's doctor says something else of one of them. See docs/proof.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/proof"
)

func main() {
	seed := flag.Int64("seed", 0, "seed of the choice; 0 takes one from the clock")
	cases := map[string]*int{
		loaders.SystemdBoot: flag.Int("cases", 160, "disks to boot with systemd-boot"),
		loaders.GRUBBIOS:    flag.Int("grub-bios", 60, "disks to boot with GRUB on BIOS"),
		loaders.GRUBUEFI:    flag.Int("grub-uefi", 60, "disks to boot with GRUB on UEFI"),
		loaders.GRUB:        flag.Int("grub", 10, "disks that UEFI starts too to boot with GRUB on BIOS"),
	}
	inARow := flag.Int("in-a-row", 8, "every so manieth disk is booted three times in a row; 0: none")
	only := flag.String("only", "", "only operations whose names begin so, beside what a mutant broke; all when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "pawl-boots-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "boots:", err)
		os.Exit(2)
	}
	wanted := map[string]int{}
	for l, n := range cases {
		if *n > 0 {
			wanted[l] = *n
		}
	}
	o := proof.BootOptions{Seed: *seed, Cases: wanted, InARow: *inARow, Only: *only, Workers: runtime.NumCPU(),
		Within: 6 * time.Minute, Log: os.Stdout}
	r, err := proof.Boots(ctx, dir, o)
	os.RemoveAll(dir)
	for _, d := range r.Differences {
		fmt.Println("DIFFERS", d)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "boots:", err)
		os.Exit(2)
	}
	fmt.Printf("%d booted the default, %d a trial, %d nothing\n%v\n", r.Default, r.Trial, r.Nothing, r)
	if len(r.Differences) > 0 || !maps.Equal(r.Of, wanted) {
		os.Exit(1)
	}
}
