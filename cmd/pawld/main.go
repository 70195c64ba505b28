// Command pawld is the node service as a program of its own, for systems that do not embed package node: it records the
// boot, serves the API, proves a trial and confirms it.
//
//	pawld --disk /dev/vda
//
// Start it early, before EPHEMERAL is mounted, and as root. Start with run.go; all the rest is package node.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"github.com/pawl-os/pawl/internal/terminal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	said := terminal.To(os.Stderr) // the log too: hooks, registries and kernels have a word in it
	context.AfterFunc(ctx, func() {
		stop()
		giveUp(said)
	}) // a second signal ends it at once
	err := run(ctx, os.Args[1:], said)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		said.Error("pawld", err)
		os.Exit(1)
	}
}
