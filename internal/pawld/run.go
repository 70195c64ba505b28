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
	"os"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

var errUsage = errors.New("wrong command line")

// limits are said by --help.
var limits = fmt.Sprintf(`
Limits: %d connections over TCP and %d over Unix sockets (fewer where few files may be open; one that is quiet gives way
to a new one), each with %d calls at once; of each kind (followers of events, plans, doctor, reflection, all others) %d
calls at once over TCP, and as many over Unix sockets; %d KiB a request, %d MiB a message of an answer, %d bytes a
reference. Over TCP, a request has to name the node by an address, localhost, its host name or a --name.
`, api.MaxConnections, api.MaxSockets, api.MaxStreams, api.MaxCalls, api.MaxRequest>>10, api.MaxAnswer>>20,
	node.MaxReference)

// listenFlag collects addresses.
type listenFlag []string

func (l *listenFlag) String() string     { return fmt.Sprint([]string(*l)) }
func (l *listenFlag) Set(v string) error { *l = append(*l, v); return nil }

// daemon is what of this machine a test replaces.
type daemon struct {
	machine upgrade.OpenOptions
	reboot  func(context.Context, string) error // nil: node.Reboot
	parts   []Part
	out     io.Writer           // for what was asked for; nil: standard output
	getenv  func(string) string // nil: os.Getenv
	reload  <-chan os.Signal    // the settings are read again
}

// Part is what a program adds to the service: it defines flags, and what it returns adds to a configuration what they
// say, once they have been read.
type Part func(*flag.FlagSet) func(*node.Config) error

// order is what the command line says.
type order struct {
	node     node.Config
	api      api.RunOptions
	settings map[string]string // of each flag that is a key of the file
	level    *slog.LevelVar
	only     string // what is done in place of serving: "version", "check-config", "give-up"
}

// of is o with what is known of the node.
func (o order) of(c node.Config) order {
	o.node = c
	return o
}

// usable says why the service could not work so, as far as that can be told without it: its files are read, and nothing
// is listened on or opened.
func (o order) usable(ctx context.Context) error {
	control, err := access.New(o.api.Access)
	if err == nil {
		err = control.Ready()
	}
	if err == nil && o.node.Load != nil {
		_, _, err = o.node.Load(ctx)
	}
	if err != nil {
		return err
	}
	s, err := node.New(o.node)
	if err != nil {
		return err
	}
	return s.Close()
}

// run ends for no reason in the middle of a trial without giving it up.
func (d daemon) run(ctx context.Context, args []string, errs io.Writer) error {
	o, err := parse(args, errs, d.parts)
	if d.out == nil {
		d.out = os.Stdout
	}
	if d.getenv == nil {
		d.getenv = os.Getenv
	}
	o.node.Machine.Vars, o.node.Machine.Cmdline, o.node.Machine.BootID, o.node.Machine.Version = d.machine.Vars,
		d.machine.Cmdline, d.machine.BootID, d.machine.Version
	o.node.Reboot = d.reboot
	switch {
	case err != nil && (o.only == "version" || o.only == "check-config"):
		return err
	case o.only == "version":
		_, err := fmt.Fprintln(d.out, buildinfo.Text("pawld"))
		return err
	case o.only == "check-config":
		if err := o.usable(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(d.out, "pawld: the settings can be used")
		return err
	case err == nil && o.only == "give-up":
		node.EndTrial(o.node, errors.New("its service manager gave it up"))
		return nil
	case err == nil:
		return d.serve(ctx, args, o)
	case !errors.Is(err, flag.ErrHelp):
		node.EndTrial(o.node, err)
	}
	return err
}

// serve is the whole service, which tells its service manager.
func (d daemon) serve(ctx context.Context, args []string, o order) error {
	manager := supervised(d.getenv, o.node.Log)
	o.api.Up = func(ctx context.Context, _ upgrade.Boot) error {
		manager.ready(ctx, o.api.Listen)
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.reload:
				d.again(args, o)
			}
		}
	}()
	defer manager.say("STOPPING=1")
	return api.Run(ctx, o.node, o.api)
}

// again reads the settings again. The log's level counts at once; of what else has changed it is said that it counts
// after a restart. The files of TLS need no order.
func (d daemon) again(args []string, o order) {
	var said strings.Builder
	fresh, err := parse(args, &said, d.parts)
	if err != nil {
		o.node.Log.Warn("the new settings are not used; the old ones are", "reason", err)
		return
	}
	o.level.Set(fresh.level.Level())
	var later []string
	for name, value := range fresh.settings {
		if name != "log-level" && value != o.settings[name] {
			later = append(later, name)
		}
	}
	slices.Sort(later)
	o.node.Log.Info("the settings are read again", "log-level", fresh.level.Level(), "after-a-restart",
		strings.Join(later, ","))
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
	o := order{level: new(slog.LevelVar)}
	file := cmp.Or(named("config", args)...)
	c := node.Config{Disk: cmp.Or(slices.Concat(named("disk", args), guessed(file, "disk"))...),
		Log: slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: o.level}))}
	for _, verb := range []string{"version", "check-config", "give-up"} {
		if slices.ContainsFunc(args, func(arg string) bool { return strings.TrimLeft(arg, "-") == verb && arg != verb }) {
			o.only = verb
		}
	}
	if roles, err := partition.ParseLabels(slices.Concat(named("label", args), guessed(file, "label"))...); err == nil {
		c.Machine.Labels = roles
	}
	o.node = c
	flags := flag.NewFlagSet("pawld", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "Usage: pawld [--config FILE] --disk DEVICE [flags]")
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
	who, beside := accessFlags(flags), talosFlags(flags)
	settled := ownFlags(flags)
	var more []func(*node.Config) error
	for _, part := range slices.Concat([]Part{watchdogFlags, trialFlags, hookFlags, unmountFlags}, parts) {
		more = append(more, part(flags))
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: %w", errUsage, err) // flag has said it
	case o.only == "version":
		return o, nil
	}
	if err := configure(flags, settled.config); err != nil {
		return o.of(c), wrong(errs, "%w", err)
	}
	if flags.NArg() > 0 || *disk == "" {
		return o.of(c), wrong(errs, "want --disk DEVICE, or a file with `disk: DEVICE`, and no arguments (see pawld --help)")
	}
	c.Log = settled.log(errs, o.level)
	parsed, err := partition.ParseLabels(roles...)
	if err != nil {
		return o.of(c), wrong(errs, "--label: %w", err)
	}
	c.Machine.Labels = parsed
	c.Disk = *disk
	if _, err := access.New(who()); err != nil {
		return o.of(c), wrong(errs, "%w", err)
	}
	for _, configure := range more {
		if err := configure(&c); err != nil {
			return o.of(c), wrong(errs, "%w", err)
		}
	}
	o.settings = settings(flags)
	c.Settings = told(o.settings)
	o.node = c
	o.api = api.RunOptions{Listen: listen, Insecure: *insecure, Names: names, Access: who(), Beside: beside()}
	return o, nil
}
