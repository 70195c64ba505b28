//go:build !node

package main

import "github.com/spf13/cobra"

// builders are the commands for a build machine.
func builders() []*cobra.Command { return []*cobra.Command{imageCommand(), packCommand()} }
