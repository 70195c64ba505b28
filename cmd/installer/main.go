// Command installer is the entrypoint of an installer container: it installs a disk, builds a disk image, and upgrades
// the machine that it runs on. Everything is in package upgrade; this is its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
