// Package pawld is the node service as a program of its own: its flags, what they mean, and how it ends. Start with
// Main, which a command that links more than Pawl's own calls with its parts.
package pawld

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/hookdir"
	"github.com/pawl-os/pawl/node/watchdog"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

var errUsage = errors.New("wrong command line")

// limits are said by --help.
var limits = fmt.Sprintf(`
Limits: %d connections over TCP and %d over Unix sockets (fewer where few files may be open; one that is quiet gives way to a
new one), each with %d calls at once of each kind: followers of events, plans, doctor, all others; %d KiB a request, %d MiB a message of an answer, %d
bytes a reference. Over TCP, a request has to name the node by an address, localhost, its host name or a --name.
`, api.MaxConnections, api.MaxSockets, api.MaxCalls, api.MaxRequest>>10, api.MaxAnswer>>20, node.MaxReference)

// listenFlag collects addresses.
type listenFlag []string

func (l *listenFlag) String() string     { return fmt.Sprint([]string(*l)) }
func (l *listenFlag) Set(v string) error { *l = append(*l, v); return nil }

// daemon is what of this machine a test replaces.
type daemon struct {
	machine upgrade.OpenOptions
	reboot  func(context.Context, string) error // nil: node.Reboot
	parts   []Part
}

// Part is what a program adds to the service: it defines flags, and what it returns adds to a configuration what they
// say, once they have been read.
type Part func(*flag.FlagSet) func(*node.Config) error

// order is what the command line says.
type order struct {
	node node.Config
	api  api.RunOptions
}

// run ends for no reason in the middle of a trial without giving it up.
func (d daemon) run(ctx context.Context, args []string, errs io.Writer) error {
	o, err := parse(args, errs, d.parts)
	o.node.Machine.Vars, o.node.Machine.Cmdline, o.node.Machine.BootID, o.node.Machine.Version = d.machine.Vars,
		d.machine.Cmdline, d.machine.BootID, d.machine.Version
	o.node.Reboot = d.reboot
	switch {
	case err == nil:
		return api.Run(ctx, o.node, o.api)
	case !errors.Is(err, flag.ErrHelp):
		node.EndTrial(o.node, err)
	}
	return err
}

// wrong is an error of the command line, which it prints.
func wrong(errs io.Writer, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	fmt.Fprintln(errs, "pawld:", err)
	return fmt.Errorf("%w: %w", errUsage, err)
}

// named finds the values of a flag on a command line that is wrong as a whole.
func named(flag string, args []string) (values []string) {
	for i, arg := range args {
		name, value, with := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != flag || !strings.HasPrefix(arg, "-"):
		case with:
			values = append(values, value)
		case i+1 < len(args):
			values = append(values, args[i+1])
		}
	}
	return values
}

// parse reads the command line, and looks at nothing else.
func parse(args []string, errs io.Writer, parts []Part) (order, error) {
	c := node.Config{Disk: cmp.Or(named("disk", args)...), Log: slog.New(slog.NewTextHandler(errs, nil))}
	if roles, err := partition.ParseLabels(named("label", args)...); err == nil {
		c.Machine.Labels = roles
	}
	flags := flag.NewFlagSet("pawld", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "Usage: pawld --disk DEVICE [flags]")
		flags.PrintDefaults()
		fmt.Fprint(errs, limits)
	}
	var listen, names, roles listenFlag
	disk := flags.String("disk", "", "what the machine boots from: a block device, or a disk image (required)")
	flags.Var(&roles, "label", "ROLE=LABEL of a partition that is not called as its role is, such as META=PAWL-META; "+
		"the roles are "+
		strings.Trim(fmt.Sprint(partition.Roles()), "[]")+"; may be given more than once")
	flags.Var(&listen, "listen", "HOST:PORT or unix:PATH; may be given more than once (default "+api.DefaultSocket+")")
	flags.Var(&names, "name", "name by which clients call this node, beside its host name and its addresses; may be "+
		"given more than once")
	insecure := flags.Bool("insecure", false, "also listen without TLS where others can reach it: the API knows "+
		"nobody there")
	who := accessFlags(flags)
	deadline := within(flags, "trial-deadline", node.TrialDeadline, time.Second, longest,
		"how long a trial may take until it is confirmed")
	window := within(flags, "window", 0, 0, longest,
		"how long the checks must go on to hold before a trial is confirmed")
	hooks := checked(flags, "hooks", "", anything,
		"directory of executables: PHASE/NAME for each phase around an upgrade, and checks/NAME;\nwithout checks a "+
			"trial is confirmed once the service can read its machine")
	hookDeadline := within(flags, "hook-deadline", node.HookDeadline, time.Millisecond, longest,
		"how long each executable of --hooks may take")
	unmount := checked(flags, "unmount", "", labels,
		"labels of partitions to unmount before a trial is armed, separated by commas: EPHEMERAL,STATE")
	dog := checked(flags, "watchdog", watchdog.Auto, device,
		"hardware that resets the machine when a trial hangs, or the restart of an upgrade: auto, off, or "+
			"/dev/watchdogN")
	dogTimeout := within(flags, "watchdog-timeout", 0, time.Second, time.Hour,
		"how long after the service fed it last the watchdog resets the machine (default 30s)")
	dogAlways := flags.Bool("watchdog-always", false, "feed the watchdog also outside of trials, as long as pawld runs")
	trial := checked(flags, "trial", "", oneOf("trial", "one-shot", "boot-next", "counting"),
		"how systemd-boot tries a version when an order does not say: one-shot (default), boot-next, "+
			"counting")
	letGo := within(flags, "let-go", node.UnmountDeadline, time.Millisecond, longest,
		"how long what holds a partition of --unmount may take to let go")
	stuck := checked(flags, "stuck", "reboot", oneOf("stuck", "reboot", "undo"),
		"when the partitions of --unmount cannot be unmounted, after services were stopped: reboot into the running "+
			"version, or undo")
	var more []func(*node.Config) error
	for _, part := range parts {
		more = append(more, part(flags))
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return order{}, err
	case err != nil:
		return order{node: c}, fmt.Errorf("%w: %w", errUsage, err) // flag has said it
	case flags.NArg() > 0 || *disk == "":
		return order{node: c}, wrong(errs, "want --disk DEVICE and no arguments (see pawld --help)")
	}
	parsed, err := partition.ParseLabels(roles...)
	if err != nil {
		return order{node: c}, wrong(errs, "--label: %w", err)
	}
	c.Machine.Labels = parsed
	c.Disk, c.TrialDeadline, c.Window = *disk, *deadline, *window
	c.Watchdog = node.Watchdog{Device: *dog, Timeout: *dogTimeout, Always: *dogAlways}
	if *dog == "off" {
		c.Watchdog = node.Watchdog{}
	}
	switch *stuck {
	case "reboot":
	case "undo":
		c.IfHeld = node.HeldUndo
	default:
		return order{node: c}, wrong(errs, "--stuck %q: want reboot or undo", *stuck)
	}
	if err := bootloader.CheckWay(loaders.All(), *trial); err != nil {
		return order{node: c}, wrong(errs, "--%v", err)
	}
	c.UnmountDeadline, c.Machine.Way = *letGo, *trial
	if _, err := access.New(who()); err != nil {
		return order{node: c}, wrong(errs, "%w", err)
	}
	if *unmount != "" {
		c.Unmount = strings.Split(*unmount, ",")
	}
	if *hooks != "" {
		c.Load = func(context.Context) ([]node.Check, []node.Hook, error) {
			o := hookdir.Options{Deadline: *hookDeadline, Log: c.Log}
			found, err1 := hookdir.Hooks(*hooks, o)
			checks, err2 := hookdir.Checks(*hooks, o)
			return checks, found, errors.Join(err1, err2)
		}
	}
	for _, configure := range more {
		if err := configure(&c); err != nil {
			return order{node: c}, wrong(errs, "%w", err)
		}
	}
	return order{c, api.RunOptions{Listen: listen, Insecure: *insecure, Names: names, Access: who()}}, nil
}
