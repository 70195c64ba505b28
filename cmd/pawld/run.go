package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/pawl-os/pawl/node"
)

var errUsage = errors.New("wrong command line")

// listenFlag collects addresses.
type listenFlag []string

func (l *listenFlag) String() string     { return fmt.Sprint([]string(*l)) }
func (l *listenFlag) Set(v string) error { *l = append(*l, v); return nil }

// run serves until ctx ends.
func run(ctx context.Context, args []string, errs io.Writer) error {
	flags := flag.NewFlagSet("pawld", flag.ContinueOnError)
	flags.SetOutput(errs)
	var listen listenFlag
	disk := flags.String("disk", "", "what the machine boots from: a block device, or a disk image (required)")
	flags.Var(&listen, "listen", "HOST:PORT or unix:PATH; may be given more than once (default "+node.DefaultSocket+")")
	insecure := flags.Bool("insecure", false, "also listen where others can reach it: the API authenticates nobody yet")
	deadline := flags.Duration("trial-deadline", node.TrialDeadline, "how long a trial may take until it is confirmed")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage // flag has said it
	case flags.NArg() > 0 || *disk == "":
		fmt.Fprintln(errs, "pawld: want --disk DEVICE and no arguments (see pawld --help)")
		return errUsage
	}
	if len(listen) == 0 {
		listen = listenFlag{node.DefaultSocket}
	}
	return serve(ctx, node.Config{
		Disk: *disk, TrialDeadline: *deadline, Log: slog.New(slog.NewTextHandler(errs, nil)),
	}, listen, *insecure)
}

func serve(ctx context.Context, c node.Config, listen []string, insecure bool) error {
	var listeners []net.Listener
	var listenErr error // a version whose API cannot be reached does not pass its trial
	c.Checks = append(c.Checks, node.Check{Name: "listen", Run: func(context.Context) error { return listenErr }})
	s, err := node.New(c)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Start(ctx); err != nil {
		c.Log.Error("start", "reason", err) // Status tells it; the machine is more use with the API than without
	}
	for _, address := range listen {
		l, err := node.Listen(ctx, address, insecure)
		if err != nil {
			listenErr = errors.Join(listenErr, err)
			continue
		}
		c.Log.Info("listen", "address", address)
		listeners = append(listeners, l)
	}
	done := make(chan error)
	for _, l := range listeners {
		go func() { done <- s.Serve(ctx, l) }()
	}
	if err := s.Prove(ctx); err != nil {
		c.Log.Error("trial", "reason", err)
	}
	errs := []error{listenErr}
	for range listeners {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}
