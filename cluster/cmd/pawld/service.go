package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// program is the executable that stops, wipes and starts this node's member: the system's own.
type program string

// Stop implements cluster.Service.
func (p program) Stop(ctx context.Context) error { return p.run(ctx, "stop") }

// Wipe implements cluster.Service.
func (p program) Wipe(ctx context.Context) error { return p.run(ctx, "wipe") }

// Start implements cluster.Service.
func (p program) Start(ctx context.Context, initialCluster string) error {
	return p.run(ctx, "start", initialCluster)
}

// trusted returns why a program is not to be run as this service.
func trusted(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !filepath.IsAbs(path) || !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: want the full path of an executable", path)
	case info.Mode()&0o022 != 0:
		return fmt.Errorf("%s may be written by others than its owner (chmod go-w it)", path)
	}
	return nil
}

// maxOutput bounds what is shown of the output, in bytes: its end.
const maxOutput = 400

func (p program) run(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, string(p), args...)
	c.WaitDelay = time.Second // what it left behind may hold its output open
	out, err := c.CombinedOutput()
	if err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("%s %s: %w: %.*q", p, args[0], err, maxOutput, out[max(0, len(out)-maxOutput):])
	}
	return nil
}
