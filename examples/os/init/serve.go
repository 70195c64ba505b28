package main

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
)

// apiAddress is where the node service listens. Without keys it is open: the machine's network is a test's own.
const apiAddress = "0.0.0.0:7295"

// serve begins to serve the API beside what comes next.
func serve(ctx context.Context, server *node.Server, disk string) error {
	who, err := callers(disk)
	if err != nil {
		return err
	}
	control, err := access.New(who)
	if err != nil {
		return err
	}
	l, err := api.Listen(ctx, apiAddress, true)
	if err != nil {
		return err
	}
	go func() {
		served := api.New(server, api.Options{Access: control}).Serve(ctx, l)
		pid1.Report("warning", "reason", fmt.Sprint(served))
	}()
	return nil
}
