package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/contexts"
)

// local is the node that is asked when nothing names one.
const local = "unix:/run/pawl.sock"

// contextsFile is where contexts are kept.
func contextsFile() (string, error) {
	if path := os.Getenv("PAWL_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the file of contexts: %w (PAWL_CONFIG names one)", err)
	}
	return filepath.Join(dir, "pawl", "config.yaml"), nil
}

func readContexts() (contexts.File, error) {
	path, err := contextsFile()
	if err != nil {
		return contexts.File{}, err
	}
	return contexts.Read(path)
}

// context is the one that this run is in. Without a home there is none, which matters only where one is named.
func (c *cli) context() (contexts.Context, error) {
	name := cmp.Or(c.within, os.Getenv("PAWL_CONTEXT"))
	if _, err := contextsFile(); err != nil && name == "" {
		return contexts.Context{}, nil
	}
	f, err := readContexts()
	if err != nil {
		return contexts.Context{}, err
	}
	return f.Context(name)
}

// settle finds whom to ask and how: by the flags, else by the environment, else by the context.
func (c *cli) settle(cmd *cobra.Command) error {
	in, err := c.context()
	if err != nil {
		return err
	}
	nodes := c.nodes
	if !cmd.Flags().Changed("nodes") {
		nodes = slices.DeleteFunc(strings.Split(os.Getenv("PAWL_NODES"), ","), func(s string) bool { return s == "" })
		if len(nodes) == 0 {
			nodes = in.Nodes
		}
		if len(nodes) == 0 {
			nodes = []string{local}
		}
	}
	if c.nodes, err = in.Expand(nodes); err != nil {
		return fmt.Errorf("--nodes: %w", err)
	}
	if len(c.nodes) == 0 {
		return errors.New("--nodes names no node")
	}
	c.tls.CA = cmp.Or(c.tls.CA, in.CA)
	if c.tls.Cert == "" && c.tls.Key == "" {
		c.tls.Cert, c.tls.Key = in.Cert, in.Key
	}
	return nil
}

// completions offers the values of the flags that every verb has.
func (c *cli) completions(root *cobra.Command) {
	offer := func(flag string, values func() []string) {
		err := root.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string,
			cobra.ShellCompDirective) {
			return values(), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // there is no such flag
		}
	}
	offer("output", func() []string { return outputs })
	offer("context", func() []string {
		f, err := readContexts()
		if err != nil {
			return nil // a shell has no place for it; the verb itself will say it
		}
		return f.Names()
	})
	offer("nodes", func() []string {
		in, err := c.context()
		if err != nil {
			return nil
		}
		all := slices.Clone(in.Nodes)
		for group, nodes := range in.Groups {
			all = append(append(all, "@"+group), nodes...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	})
}
