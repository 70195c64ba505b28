package pawld

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pawl-os/pawl/internal/terminal"
)

// endTime is how long pawld may take to end.
const endTime = 15 * time.Second

// giveUp ends pawld though something that it does has not ended: a disk may hang.
func giveUp(said *terminal.Printer) {
	time.Sleep(endTime)
	said.Error("pawld", fmt.Errorf("what it does has not ended within %s; it ends all the same", endTime))
	os.Exit(1)
}

// Main is the command pawld, with what its parts add. It returns when pawld was ended by a signal, or told only of
// itself.
func Main(parts ...Part) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	said := terminal.To(os.Stderr) // the log too: hooks, registries and kernels have a word in it
	context.AfterFunc(ctx, func() {
		stop()
		giveUp(said)
	}) // a second signal ends it at once
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	err := daemon{parts: parts, reload: hangup}.run(ctx, os.Args[1:], said)
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
