package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/hookdir"
	"github.com/pawl-os/pawl/node/watchdog"
	"github.com/pawl-os/pawl/upgrade"
)

var errUsage = errors.New("wrong command line")

// limits are said by --help.
var limits = fmt.Sprintf(`
Limits: %d connections over TCP and %d over Unix sockets (fewer where few files may be open; one that is quiet gives way to a
new one), each with %d calls at once of each kind: followers of events, plans, doctor, all others; %d KiB a request, %d MiB a message of an answer, %d
bytes a reference. Over TCP, a request has to name the node by an address, localhost, its host name or a --name.
`, node.MaxConnections, node.MaxSockets, node.MaxCalls, node.MaxRequest>>10, node.MaxAnswer>>20, node.MaxReference)

// listenFlag collects addresses.
type listenFlag []string

func (l *listenFlag) String() string     { return fmt.Sprint([]string(*l)) }
func (l *listenFlag) Set(v string) error { *l = append(*l, v); return nil }

// run serves until ctx ends.
func run(ctx context.Context, args []string, errs io.Writer) error {
	flags := flag.NewFlagSet("pawld", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "Usage: pawld --disk DEVICE [flags]")
		flags.PrintDefaults()
		fmt.Fprint(errs, limits)
	}
	var listen, names listenFlag
	disk := flags.String("disk", "", "what the machine boots from: a block device, or a disk image (required)")
	flags.Var(&listen, "listen", "HOST:PORT or unix:PATH; may be given more than once (default "+node.DefaultSocket+")")
	flags.Var(&names, "name", "name by which clients call this node, beside its host name and its addresses; may be given more than once")
	insecure := flags.Bool("insecure", false, "also listen where others can reach it: the API authenticates nobody yet")
	deadline := within(flags, "trial-deadline", node.TrialDeadline, time.Second, longest, "how long a trial may take until it is confirmed")
	window := within(flags, "window", 0, 0, longest, "how long the checks must go on to hold before a trial is confirmed")
	hooks := checked(flags, "hooks", "", anything, "directory of executables: PHASE/NAME for each phase around an upgrade, and checks/NAME;\nwithout checks a trial is confirmed once the service can read its machine")
	hookDeadline := within(flags, "hook-deadline", node.HookDeadline, time.Millisecond, longest, "how long each executable of --hooks may take")
	unmount := checked(flags, "unmount", "", labels, "labels of partitions to unmount before a trial is armed, separated by commas: EPHEMERAL,STATE")
	dog := checked(flags, "watchdog", watchdog.Auto, device, "hardware that resets the machine when a trial hangs, or the restart of an upgrade: auto, off, or /dev/watchdogN")
	dogTimeout := within(flags, "watchdog-timeout", 0, time.Second, time.Hour, "how long after the service fed it last the watchdog resets the machine (default 30s)")
	dogAlways := flags.Bool("watchdog-always", false, "feed the watchdog also outside of trials, as long as pawld runs")
	trial := checked(flags, "trial", "", oneOf("trial", "one-shot", "boot-next", "counting"), "how systemd-boot is had to try a version, where an order does not say: one-shot (default), boot-next, counting")
	letGo := within(flags, "let-go", node.LetGo, time.Millisecond, longest, "how long what holds a partition of --unmount may take to let go")
	stuck := checked(flags, "stuck", "reboot", oneOf("stuck", "reboot", "undo"), "when the partitions of --unmount cannot be unmounted, after services were stopped: reboot into the running version, or undo")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage // flag has said it
	case flags.NArg() > 0 || *disk == "":
		fmt.Fprintln(errs, "pawld: want --disk DEVICE and no arguments (see pawld --help)")
		return errUsage
	}
	c := node.Config{Disk: *disk, TrialDeadline: *deadline, Window: *window, Log: slog.New(slog.NewTextHandler(errs, nil))}
	c.Watchdog = node.Watchdog{Device: *dog, Timeout: *dogTimeout, Always: *dogAlways}
	if *dog == "off" {
		c.Watchdog = node.Watchdog{}
	}
	switch *stuck {
	case "reboot":
	case "undo":
		c.Stuck = node.StuckUndo
	default:
		fmt.Fprintf(errs, "pawld: --stuck %q: want reboot or undo\n", *stuck)
		return errUsage
	}
	if err := upgrade.CheckTrial(*trial); err != nil {
		fmt.Fprintf(errs, "pawld: --%v\n", err)
		return errUsage
	}
	c.LetGo, c.Machine.Trial = *letGo, *trial
	if *unmount != "" {
		c.Unmount = strings.Split(*unmount, ",")
	}
	if *hooks != "" {
		o := hookdir.Options{Deadline: *hookDeadline, Log: c.Log}
		var err1, err2 error
		c.Hooks, err1 = hookdir.Hooks(*hooks, o)
		c.Checks, err2 = hookdir.Checks(*hooks, o)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	c.Names = names
	for _, address := range listen {
		if host, _, err := net.SplitHostPort(address); err == nil && !strings.HasPrefix(address, "unix:") {
			c.Names = append(c.Names, host)
		}
	}
	if len(listen) == 0 {
		listen = listenFlag{node.DefaultSocket}
	}
	return serve(ctx, c, listen, *insecure)
}

func serve(ctx context.Context, c node.Config, listen []string, insecure bool) error {
	var listenErr error // a version whose API cannot be reached does not pass its trial
	c.Checks = append(c.Checks, node.Check{Name: "listen", Own: true, Run: func(context.Context) error { return listenErr }})
	s, err := node.New(c)
	if err != nil {
		return err
	}
	defer s.Close()
	listened, served := make(chan error, len(listen)), make(chan error, len(listen))
	for _, address := range listen { // beside Start, which waits for no name to be resolved
		go func() {
			l, err := node.Listen(ctx, address, insecure)
			listened <- err
			if err != nil {
				c.Log.Error("listen", "address", address, "reason", err)
			} else {
				if l.Addr().Network() != "unix" {
					address = l.Addr().String() // with the port that was chosen for port 0
				}
				c.Log.Info("listen", "address", address)
				err = s.Serve(ctx, l)
			}
			served <- err
		}()
	}
	_, err = s.Start(ctx)
	for range listen {
		listenErr = errors.Join(listenErr, <-listened)
	}
	if errors.Is(err, node.ErrRestarting) {
		<-ctx.Done() // nothing is to be started or mounted any more
	} else {
		if err != nil {
			c.Log.Error("start", "reason", err) // Status tells it; the machine is more use with the API than without
		}
		if err := s.Prove(ctx); err != nil {
			c.Log.Error("trial", "reason", err)
		}
	}
	var errs []error
	for range listen {
		errs = append(errs, <-served)
	}
	return errors.Join(errs...)
}
