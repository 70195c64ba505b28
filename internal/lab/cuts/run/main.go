// Command run cuts the power of machines in QEMU in every phase of an upgrade, of a staged one, and of one by kexec.
// Its last line is "cuts: cases=N ok=N wrong=0"; it fails unless all went right.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/cuts"
)

func main() {
	loader := flag.String("loader", "", "systemd-boot (without it), grub-uefi or grub-bios")
	only := flag.String("only", "", "only cuts whose \"KIND PHASE\" matches this pattern")
	workers := flag.Int("workers", runtime.NumCPU(), "machines at a time")
	within := flag.Duration("within", 6*time.Minute, "how long a boot may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *loader, *only, cuts.Options{Workers: *workers, Within: *within, Log: os.Stdout}); err != nil {
		fmt.Println("cuts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, loader, only string, o cuts.Options) (err error) {
	backend, err := loaders.Named(loader)
	if err != nil {
		return err
	}
	o.Loader = backend.Name()
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	o.Cuts = slices.DeleteFunc(cuts.Table(), func(c cuts.Cut) bool {
		return !pattern.MatchString(string(c.Order) + " " +
			c.At)
	})
	r, err := cuts.Run(ctx, o)
	if err != nil {
		return err
	}
	for _, w := range r.Wrong {
		fmt.Println("wrong:", w)
	}
	fmt.Println(r)
	if r.OK != len(o.Cuts) {
		return fmt.Errorf("%d of %d went right", r.OK, len(o.Cuts))
	}
	return nil
}
