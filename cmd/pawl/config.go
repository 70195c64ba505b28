package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/contexts"
	"github.com/pawl-os/pawl/internal/verbs"
)

// configCommand keeps contexts.
func (c *cli) configCommand() *cobra.Command {
	all := &cobra.Command{Use: "config", Short: "Whom to ask, and with which certificates: the contexts of this user",
		Long: `A context names nodes, groups of them, and the certificates to ask them with. They are kept in
~/.config/pawl/config.yaml, or in the file that $PAWL_CONFIG names. What flags say wins, then PAWL_NODES, PAWL_CA,
PAWL_CERT and PAWL_KEY, then the context: that of --context, of $PAWL_CONTEXT, or the current one.

  pawl config set lab --nodes 10.0.0.1,10.0.0.2 --group storage=10.0.0.2 --ca ca.crt --cert me.crt --key me.key
  pawl status
  pawl status --nodes @storage
  pawl --context home status`,
		RunE: func(*cobra.Command, []string) error {
			return usage{errors.New("config: want set, use, remove or show (see `pawl config --help`)")}
		}}
	var groups []string
	set := c.configVerb("set NAME", "Make a context, or change what is given of one", func(cmd *cobra.Command,
		f *contexts.File, name string) error {
		if err := c.set(cmd, f, name, groups); err != nil {
			return usage{err}
		}
		return f.Write()
	})
	set.Flags().StringArrayVar(&groups, "group", nil, "NAME=NODE,NODE...: a group, for --nodes @NAME; NAME= removes "+
		"it; may be given more than once")
	all.AddCommand(set,
		c.configVerb("use NAME", "Make a context the current one", func(_ *cobra.Command, f *contexts.File,
			name string) error {
			if _, err := f.Context(name); err != nil {
				return usage{err}
			}
			f.Current = name
			return f.Write()
		}),
		c.configVerb("remove NAME", "Remove a context; its files stay", func(_ *cobra.Command, f *contexts.File,
			name string) error {
			if _, err := f.Context(name); err != nil {
				return usage{err}
			}
			delete(f.Contexts, name)
			if f.Current == name {
				f.Current = ""
			}
			return f.Write()
		}),
		c.configVerb("show", "Show the contexts", func(_ *cobra.Command, f *contexts.File, _ string) error {
			c.showContexts(*f)
			return nil
		}))
	return all
}

// configVerb is a verb of config; one whose use names NAME takes it as its argument.
func (c *cli) configVerb(use, short string, do func(*cobra.Command, *contexts.File, string) error) *cobra.Command {
	takes := strings.HasSuffix(use, " NAME")
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{Use: use, Short: short, Args: func(_ *cobra.Command, args []string) error {
		switch {
		case takes && len(args) != 1:
			return usage{fmt.Errorf("config %s takes one name of a context (see `pawl config --help`)", verb)}
		case !takes && len(args) > 0:
			return usage{fmt.Errorf("config %s takes no argument %q", verb, args[0])}
		}
		return nil
	}}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, err := range []error{verbs.NotEmpty(cmd.Flags()), commandline.Word("output", c.output, outputs...)} {
			if err != nil {
				return usage{err}
			}
		}
		f, err := readContexts()
		if err != nil {
			return err
		}
		return do(cmd, &f, strings.Join(args, ""))
	}
	if takes && verb != "set" {
		cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			f, err := readContexts()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return f.Names(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	return cmd
}

// set gives a context what the flags say. The first one becomes the current one.
func (c *cli) set(cmd *cobra.Command, f *contexts.File, name string, groups []string) error {
	to := f.Contexts[name]
	if cmd.Flags().Changed("nodes") {
		if slices.ContainsFunc(c.nodes, func(n string) bool { return n == "" || n[0] == '@' }) {
			return errors.New("--nodes: a context's nodes are addresses (--group NAME=NODE,... makes a group)")
		}
		to.Nodes = c.nodes
	}
	for _, group := range groups {
		name, nodes, is := strings.Cut(group, "=")
		if !is {
			return fmt.Errorf("--group %q: want NAME=NODE,NODE", group)
		}
		if to.Groups == nil {
			to.Groups = map[string][]string{}
		}
		if delete(to.Groups, name); nodes != "" {
			to.Groups[name] = strings.Split(nodes, ",")
		}
	}
	for flag, files := range map[string][2]*string{"ca": {&to.CA, &c.tls.CA}, "cert": {&to.Cert, &c.tls.Cert},
		"key": {&to.Key, &c.tls.Key}} {
		if !cmd.Flags().Changed(flag) {
			continue
		}
		path, err := filepath.Abs(*files[1])
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		*files[0] = path
	}
	f.Contexts[name] = to
	if f.Current == "" && len(f.Contexts) == 1 {
		f.Current = name
	}
	return f.Check()
}

// showContexts prints the contexts, or one object a context.
func (c *cli) showContexts(f contexts.File) {
	var rows [][]string
	for _, name := range f.Names() {
		in := f.Contexts[name]
		c.value(map[string]any{"context": name, "current": name == f.Current, "nodes": in.Nodes, "groups": in.Groups,
			"ca": in.CA, "cert": in.Cert, "key": in.Key})
		mark := ""
		if name == f.Current {
			mark = "*"
		}
		rows = append(rows, []string{mark, name, strings.Join(in.Nodes, ","), in.Cert})
		for _, group := range in.GroupNames() {
			rows = append(rows, []string{"", "", "@" + group + "=" + strings.Join(in.Groups[group], ",")})
		}
	}
	switch {
	case c.structured():
	case len(rows) == 0:
		c.out.Printf("no contexts in %s (`pawl config set NAME --nodes ...` makes one)\n", f.Path())
	default:
		c.out.Rows("", append([][]string{{"", "context", "nodes", "certificate"}}, rows...))
	}
}
