package main

import (
	"context"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/node/client"
)

func (c *cli) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "The versions of this program and of what answers on the nodes"}
	var alone bool
	cmd.Flags().BoolVar(&alone, "client", false, "only of this program")
	return c.verb(cmd, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		if alone {
			c.value(map[string]any{"client": map[string]any{"pawl": buildinfo.Version(), "api": 1, "platform": runtime.GOOS +
				"/" + runtime.GOARCH}})
		}
		if !c.structured() {
			c.out.Printf("pawl: %s, API 1, %s/%s\n", buildinfo.Version(), runtime.GOOS, runtime.GOARCH)
		}
		if alone {
			return nil
		}
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			v, err := node.Version(ctx)
			return func() {
				c.object(node, "version", v)
				c.line(node, "%s, API %d, %s (boot %s)", v.Pawl, v.Api, v.Platform, v.BootId)
			}, err
		})
	})
}
