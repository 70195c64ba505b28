// Command run boots the matrix of deaths, as a part of `make boots`, and exits 1 if one of them does not end as it
// should. See docs/explanation/deaths.md.
//
//	go run ./internal/lab/deaths/run -only "grub-bios panic"
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/pawl-os/pawl/internal/lab/deaths"
)

func main() {
	only := flag.String("only", "", "cells whose names contain all these words; more choices after a comma; "+
		"\"sample\" for those of make test")
	seed := flag.Uint64("seed", 0, "of the moments at which power fails; 0 takes one from the clock")
	workers := flag.Int("machines", 2, "at a time")
	within := flag.Duration("within", 6*time.Minute, "for a boot, or a command in a guest")
	dog := flag.String("watchdog", "i6300esb", "the machines' watchdog: i6300esb, or iTCO for the chipset's own")
	console := flag.Bool("console", false, "show what the machines print")
	flag.Parse()
	os.Exit(run(*only, deaths.Options{Seed: *seed, Workers: *workers, Within: *within, Watchdog: *dog, Log: os.Stdout},
		*console))
}

func run(only string, o deaths.Options, console bool) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if console {
		o.Console = io.Writer(os.Stderr)
	}
	switch o.Cells = deaths.Only(only); {
	case only == "sample":
		o.Cells = deaths.Sample()
	case len(o.Cells) == 0:
		fmt.Fprintf(os.Stderr, "deaths: no cell is called %q\n", only)
		return 2
	}
	dir, err := os.MkdirTemp("", "pawl-deaths-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "deaths:", err)
		return 2
	}
	defer os.RemoveAll(dir)
	r, err := deaths.Run(ctx, dir, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "deaths:", err)
		return 2
	}
	for _, text := range r.Wrong {
		fmt.Println("WRONG", text)
	}
	fmt.Println(r)
	if len(r.Wrong) > 0 || r.Cells != len(o.Cells) {
		return 1
	}
	return 0
}
