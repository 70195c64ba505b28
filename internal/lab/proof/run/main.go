// Command run is `make proof`: it cuts the power at every write and exits 1 if a disk is left that breaks the promise,
// or if a faulty program is not told from the real one. See docs/proof.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/proof"
	"github.com/pawl-os/pawl/internal/lab/proof/environment"
)

func main() {
	seed := flag.Int64("seed", 0, "seed of samples and random histories; 0 takes one from the clock")
	distinct := flag.Int("distinct", 205_000, "go on until so many disks were seen that differ for a loader")
	lived := flag.Int("lived", 15_000, "and until so many of these were seen in random histories")
	only := flag.String("only", "", "only operations of the table whose names begin so; all when empty")
	loader := flag.String("loader", "", "only this loader, or systemd-boot+root; all when empty")
	environments := flag.Int("environments", 20_000,
		"so many environments at the end: machines as others leave them; 0: none")
	onlyEnvironments := flag.Bool("only-environments", false, "nothing but environments")
	single := flag.Bool("single", false, "with -only-environments: the one of -seed alone, of which everything is told")
	counting := flag.Bool("counting", false,
		"only trials that systemd-boot counts in a name, which are no part of the promise")
	flag.Parse()
	debug.SetGCPercent(400) // little lives long, and a million disks are made
	dir, err := os.MkdirTemp("", "pawl-proof-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(2)
	}
	if *onlyEnvironments {
		code := surround(dir, environment.Options{Seed: *seed, Made: *environments, Loader: string(*loader),
			Workers: runtime.NumCPU(), Single: *single, Log: os.Stdout})
		os.RemoveAll(dir)
		os.Exit(code)
	}
	o := proof.Options{Seed: *seed, Distinct: *distinct, Lived: *lived, Only: *only, Loader: string(*loader),
		Workers: runtime.NumCPU(), Log: os.Stdout, Counting: *counting}
	if o.Counting {
		o.Loader, o.Distinct = loaders.SystemdBoot, 0 // histories have no such trials
	}
	r, err := proof.Run(context.Background(), dir, o)
	if err != nil {
		os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(2)
	}
	fmt.Println(r)
	code := 0
	if r.Err() != nil {
		code = 1
	}
	if *environments > 0 && *only == "" && !*counting {
		code = max(code, surround(dir, environment.Options{Seed: *seed, Made: *environments, Loader: o.Loader,
			Workers: o.Workers, Log: os.Stdout}))
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// surround makes environments, and returns the exit code: 1 when a promise was not kept in one of them.
func surround(dir string, o environment.Options) int {
	debug.SetGCPercent(1000) // what lives is small, and machines are made and forgotten fast
	if o.Blind = max(o.Made/20, 200); o.Single {
		o.Made = 1
	}
	r, err := environment.Run(context.Background(), filepath.Join(dir, "environments"), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "environments:", err)
		return 2
	}
	if o.Single {
		return min(r.Wrong, 1)
	}
	fmt.Printf("without rehearsal: wrong=%d\nseconds=%.0f\n", r.Blind, r.Seconds)
	if err := r.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "environments:", err)
	}
	fmt.Println(r)
	if r.Err() != nil {
		return 1
	}
	return 0
}
