// Command run boots the matrix of machines (`make machines`), and exits 1 if one of them does not live as it should.
// See docs/reference/machines.md.
//
//	go run ./internal/lab/machines/run -only "grub-bios ahci,usb"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/pawl-os/pawl/internal/lab/machines"
)

func main() {
	only := flag.String("only", "", "cells whose names contain all these words; more choices after a comma")
	within := flag.Duration("within", 6*time.Minute, "for a boot, or a command in a guest")
	console := flag.Bool("console", false, "show what the machines print")
	flag.Parse()
	o := machines.Options{Within: *within, Log: os.Stdout}
	if *console {
		o.Console = os.Stderr
	}
	os.Exit(run(*only, o))
}

func run(only string, o machines.Options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.Cells = machines.Only(only); len(o.Cells) == 0 {
		fmt.Fprintf(os.Stderr, "machines: no cell is called %q\n", only)
		return 2
	}
	dir, err := os.MkdirTemp("", "pawl-machines-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "machines:", err)
		return 2
	}
	defer os.RemoveAll(dir)
	r, err := machines.Run(ctx, dir, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "machines:", err)
		return 2
	}
	for _, text := range r.Wrong {
		fmt.Println("WRONG", text)
	}
	fmt.Println(r)
	if len(r.Wrong) > 0 {
		return 1
	}
	return 0
}
