package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/internal/verbs"
	"github.com/pawl-os/pawl/node/client"
)

// Exit codes. When several nodes fail, the largest counts: the less is known of a node, the larger it is.
const (
	exitOK          = 0
	exitError       = 1 // refused, or failed; the node runs what it ran
	exitUsage       = 2
	exitFellBack    = 3 // the node is back, but in another version than it should be
	exitTimeout     = 4 // not known: it took longer than --timeout, or was interrupted while what it ordered goes on
	exitUnreachable = 5 // the node did not answer or is starting, or the connection was lost
	exitBroken      = 6 // doctor: one of the node's next boots does not end well, or its machine cannot be worked on
)

const long = `Pawl moves machines to the next version of their operating system, lets it boot once, and keeps it only
when it has proved itself.

Nodes are HOST, HOST:PORT (port ` + client.DefaultPort + ` if none is given) or unix:PATH.
With --ca or --cert they are asked over TLS; https://HOST and http://HOST say so for one node.

Exit codes:
  0  done; with --wait: the node is back, in the expected version, confirmed
  1  refused or failed; the node runs what it ran
  2  the command line is wrong
  3  the node is back, but not in the expected version: it fell back
  4  not known: it took longer than --timeout, or was interrupted while what it ordered goes on
  5  a node does not answer or is starting, or the connection was lost
  6  doctor: something is broken
When several nodes fail, the largest counts.`

// cli is one run of the program.
type cli struct {
	out     *terminal.Printer
	said    *terminal.Printer // on standard error
	board   *board
	nodes   []string
	within  string // the context that was named
	output  string
	timeout time.Duration // per node
	tls     client.Options
	version string // of this program
}

// usage is an error of the command line.
type usage struct{ error }

// unfollowed is how a command ends that was interrupted while what it ordered goes on.
type unfollowed struct{ error }

// Unwrap returns the cause.
func (u unfollowed) Unwrap() error { return u.error }

// interrupted makes that of err, if it is an interruption.
func interrupted(err error) error {
	if client.ErrorKind(err) == "cancelled" && !connect.IsWireError(err) {
		return unfollowed{err}
	}
	return err
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	return newCLI(out, errs).run(ctx, args)
}

func newCLI(out, errs io.Writer) *cli {
	c := &cli{out: terminal.To(out), said: terminal.To(errs), version: buildinfo.Version()}
	c.board = &board{out: c.out, width: c.out.Width()}
	return c
}

func (c *cli) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	root.SetOut(c.out)
	root.SetErr(c.said)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = c.out.Err() // what was done is done; that it was told is part of the promise
	}
	if err == nil {
		return exitOK
	}
	c.said.Error("pawl", err)
	return exitCode(err)
}

func exitCode(err error) int {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		worst := exitError
		for _, e := range joined.Unwrap() {
			worst = max(worst, exitCode(e))
		}
		return worst
	}
	if u := (usage{}); errors.As(err, &u) {
		return exitUsage
	}
	if u := (unfollowed{}); errors.As(err, &u) {
		return exitTimeout
	}
	kind := client.ErrorKind(err)
	if kind == client.Timeout && connect.IsWireError(err) {
		return exitError // something that the node tried took too long
	}
	switch kind {
	case client.FellBack:
		return exitFellBack
	case client.Timeout:
		return exitTimeout
	case client.Unreachable, client.Foreign, client.Starting:
		return exitUnreachable
	case client.Broken:
		return exitBroken
	}
	return exitError
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "pawl", Short: "Upgrade machines that come back by themselves", Long: long,
		SilenceUsage: true, SilenceErrors: true, CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage{fmt.Errorf("unknown command %q (see `pawl --help`)", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verbs.Version(root, buildinfo.Text("pawl"))
	root.PersistentFlags().StringSliceVarP(&c.nodes, "nodes", "n", []string{local},
		"nodes to talk to, separated by commas; @NAME is a group of the context ($PAWL_NODES if not given)")
	root.PersistentFlags().StringVar(&c.within, "context", "",
		"context of `pawl config` to be in ($PAWL_CONTEXT if not given, else the current one)")
	for _, f := range []struct {
		to                *string
		name, from, usage string
	}{
		{&c.tls.CA, "ca", "PAWL_CA", "file of the authorities of the nodes' certificates"},
		{&c.tls.Cert, "cert", "PAWL_CERT", "file of the certificate to show to the nodes"},
		{&c.tls.Key, "key", "PAWL_KEY", "file of its key"},
	} {
		root.PersistentFlags().StringVar(f.to, f.name, os.Getenv(f.from), f.usage+" ($"+f.from+" if not given)")
		root.PersistentFlags().Lookup(f.name).DefValue = "" // the help is the same everywhere
	}
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "text",
		"text, json (one object a line) or yaml (a document each)")
	verbs.Help(root, func(err error) error { return usage{err} })
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage{fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
	})
	root.AddCommand(c.statusCommand(), c.doctorCommand(), c.planCommand(), c.upgradeCommand(), c.rollbackCommand(),
		c.cancelCommand(), c.confirmCommand(), c.rebootCommand(),
		c.stageCommand(), c.eventsCommand(), c.dmesgCommand(), c.certsCommand(), c.configCommand(),
		c.inspectCommand(), c.versionCommand(), c.metaCommand(), c.markCommand(), c.logsCommand(), c.supportCommand(),
		c.lockCommand())
	c.completions(root)
	return root
}

// verb fills in what all verbs have in common.
func (c *cli) verb(cmd *cobra.Command, timeout time.Duration,
	do func(ctx context.Context, nodes []*client.Client) error) *cobra.Command {
	arguments := cmd.Args // of those that take some
	chosen := cmd.Flags().Duration("timeout", timeout, "how long to wait for each node")
	if timeout == forever {
		cmd.Flags().Lookup("timeout").DefValue = "no limit" // in the help
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if arguments != nil {
			return arguments(cmd, args)
		}
		if len(args) > 0 {
			return usage{fmt.Errorf("%s takes no argument %q (see `pawl %s --help`)", cmd.Name(), args[0], cmd.Name())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c.timeout = *chosen
		for _, err := range []error{
			verbs.NotEmpty(cmd.Flags()), commandline.Word("output", c.output, outputs...),
			commandline.Within("timeout", c.timeout, time.Millisecond, forever), checkOrder(cmd),
		} {
			if err != nil {
				return usage{err}
			}
		}
		if err := c.settle(cmd); err != nil {
			return usage{err}
		}
		var nodes []*client.Client
		for _, address := range c.nodes {
			node, err := client.Open(address, c.tls)
			if err != nil {
				return usage{err}
			}
			nodes = append(nodes, node)
		}
		err := do(cmd.Context(), nodes)
		for _, node := range nodes {
			if text := skew(c.version, node.NodeVersion()); text != "" {
				c.said.Printf("pawl: %s: %s\n", node.Node, text)
			}
		}
		return err
	}
	return cmd
}

// checkOrder refuses what no node would take, and what would say nothing, in the flags of those commands that have
// them.
func checkOrder(cmd *cobra.Command) error {
	value := func(name string) string {
		f := cmd.Flags().Lookup(name)
		if f == nil || !f.Changed {
			return ""
		}
		return f.Value.String()
	}
	if way := value("trial"); way != "" {
		if err := commandline.Word("trial", way, "one-shot", "boot-next", "counting"); err != nil {
			return err
		}
	}
	if mode := value("reboot-mode"); mode != "" {
		if err := commandline.Word("reboot-mode", mode, "auto", "kexec", "powercycle"); err != nil {
			return err
		}
		if value("reboot") == "false" || value("stage") == "true" && value("reboot") == "" {
			return errors.New("--reboot-mode says how to restart, and there is to be no restart: leave it out, or " +
				"give --reboot")
		}
	}
	if tries, err := cmd.Flags().GetUint32("tries"); err == nil {
		return commandline.Within("tries", tries, 1, 9)
	}
	return nil
}

// each asks all nodes at once and prints in their order.
func (c *cli) each(ctx context.Context, nodes []*client.Client, ask func(context.Context, *client.Client) (func(),
	error)) error {
	prints := make([]func(), len(nodes))
	errs := make([]error, len(nodes))
	var wait sync.WaitGroup
	for i, node := range nodes {
		wait.Go(func() {
			limited, cancel := context.WithTimeout(ctx, c.timeout)
			defer cancel()
			prints[i], errs[i] = ask(limited, node)
			errs[i] = advised(errs[i])
		})
	}
	wait.Wait()
	for i, node := range nodes {
		if errs[i] != nil && client.ErrorKind(errs[i]) != client.Broken { // what is broken is in the answer
			c.printError(node, errs[i])
		} else {
			prints[i]()
		}
	}
	return errors.Join(errs...)
}
