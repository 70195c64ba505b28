// Command pawl asks nodes what they run, moves them to another version, and waits until they have proved it.
//
//	pawl status --nodes 10.0.0.1,10.0.0.2
//	pawl upgrade --nodes 10.0.0.1 --image registry.example.com/os:1.2 --wait
//
// Start with root.go, which holds the flags that every verb has and the exit codes. Each verb is a file. What happens
// on the wire is package node/client.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
