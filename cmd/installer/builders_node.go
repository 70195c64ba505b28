//go:build node

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// builders are the commands for a build machine. A program for nodes, which is to be small, leaves them out, and says
// so by name.
func builders() (left []*cobra.Command) {
	for _, name := range []string{"image", "pack"} {
		left = append(left, &cobra.Command{
			Use: name, Hidden: true, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return usageError{fmt.Errorf("installer %s is left out of this program, which is the one for nodes (use "+
					"installer-linux-ARCH of the release, or build without the tag \"node\")", name)}
			},
		})
	}
	return left
}
