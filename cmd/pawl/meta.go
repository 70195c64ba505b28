package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// maxMeta is the largest value that a node takes in a request, in bytes.
const maxMeta = 60 << 10

func (c *cli) metaCommand() *cobra.Command {
	meta := &cobra.Command{
		Use: "meta", Short: "Values that the nodes' systems keep on the partition META",
		Long: `META keeps small values across upgrades, each under a tag from 1 to 255 (or 0x01 to 0xff). Those from 0x50 to
0x55 are Pawl's own. Values may be secrets: only admins see them, and no log has them.

  pawl meta list
  pawl meta get 0x0a > network.yaml
  pawl meta set 0x0a @network.yaml
  pawl meta delete 0x0a`,
		RunE: func(*cobra.Command, []string) error {
			return usage{errors.New("meta: want list, get, set or delete (see `pawl meta --help`)")}
		},
	}
	meta.AddCommand(c.metaList(), c.metaGet(), c.metaSet(), c.metaDelete())
	return meta
}

func (c *cli) metaList() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Which tags have values, how large they are, and whose"}
	return c.verb(list, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			v, err := node.MetaList(ctx, &pawlv1.MetaListRequest{})
			return func() {
				if c.object(node, "meta", v); c.structured() {
					return
				}
				c.line(node, "%d values", len(v.Values))
				var rows [][]string
				for _, m := range v.Values {
					rows = append(rows, []string{fmt.Sprintf("0x%02x", m.Tag), fmt.Sprintf("%d bytes", m.Size), m.Of})
				}
				c.out.Rows("  ", rows)
			}, err
		})
	})
}

func (c *cli) metaGet() *cobra.Command {
	var tag uint8
	get := &cobra.Command{Use: "get TAG", Short: "Write a value to standard output, as it is",
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return usage{errors.New("meta get: want a tag, such as 0x0a")}
			}
			tag, err = parseTag(args[0])
			return err
		}}
	return c.verb(get, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		if len(nodes) != 1 && !c.structured() {
			return usage{errors.New("meta get: the value of one node (--nodes NODE), or --output json")}
		}
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			v, err := node.MetaList(ctx, &pawlv1.MetaListRequest{Tags: []uint32{uint32(tag)}, Values: true})
			if err == nil && len(v.Values) != 1 {
				err = &client.Error{Node: node.Node, Kind: client.Foreign, Text: "what answers there sent no value"}
			}
			if err != nil || c.structured() {
				return func() { c.object(node, "meta", v) }, err
			}
			to, err := c.out.Binary()
			if err != nil { // a terminal, which gets what can be printed
				return func() { c.out.Printf("%s\n", v.Values[0].Value) }, nil
			}
			_, err = to.Write(v.Values[0].Value)
			return func() {}, err
		})
	})
}

func (c *cli) metaSet() *cobra.Command {
	var tag uint8
	var value []byte
	set := &cobra.Command{Use: "set TAG TEXT|@FILE|-", Short: "Store a value: a text, a file, or standard input",
		Args: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) != 2 {
				return usage{errors.New("meta set: want a tag and a value (TEXT, @FILE, or - for standard input)")}
			}
			if tag, err = parseTag(args[0]); err == nil {
				value, err = parseValue(cmd.InOrStdin(), args[1])
			}
			return err
		}}
	return c.verb(set, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			if err := node.MetaSet(ctx, tag, value); err != nil {
				return err
			}
			c.object(node, "meta", map[string]any{"tag": tag, "size": len(value)})
			c.line(node, "META 0x%02x is set, %d bytes", tag, len(value))
			return nil
		})
	})
}

func (c *cli) metaDelete() *cobra.Command {
	var tag uint8
	remove := &cobra.Command{Use: "delete TAG", Short: "Remove a value",
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return usage{errors.New("meta delete: want a tag, such as 0x0a")}
			}
			tag, err = parseTag(args[0])
			return err
		}}
	return c.verb(remove, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			if err := node.MetaDelete(ctx, tag); err != nil {
				return err
			}
			c.object(node, "meta", map[string]any{"tag": tag})
			c.line(node, "META 0x%02x is gone", tag)
			return nil
		})
	})
}

func parseTag(text string) (uint8, error) {
	tag, err := strconv.ParseUint(text, 0, 8)
	if err != nil || tag == 0 {
		return 0, usage{fmt.Errorf("tag %q: want 1 to 255, or 0x01 to 0xff", text)}
	}
	return uint8(tag), nil
}

// parseValue is a text, or what a file or standard input holds.
func parseValue(in io.Reader, text string) ([]byte, error) {
	if text != "-" && (text == "" || text[0] != '@') {
		return []byte(text), nil
	}
	if text != "-" {
		f, err := os.Open(text[1:])
		if err != nil {
			return nil, usage{err}
		}
		defer f.Close()
		in = f
	}
	value, err := io.ReadAll(io.LimitReader(in, maxMeta+1))
	switch {
	case err != nil:
		return nil, usage{fmt.Errorf("read the value: %w", err)}
	case len(value) > maxMeta:
		return nil, usage{fmt.Errorf("the value has more than %d bytes, which is the most that a node takes", maxMeta)}
	}
	return value, nil
}
