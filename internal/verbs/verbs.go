// Package verbs is what the commands with several verbs have in common, beside package commandline.
package verbs

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NotEmpty refuses texts that were given as empty: a variable of a script that holds nothing is not the wish for a
// default.
func NotEmpty(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = fmt.Errorf("--%s is empty: leave it out, or say what it is", f.Name)
		}
	})
	return err
}

// Help makes `help X` an error, as refuse has it, where there is no command X.
func Help(root *cobra.Command, refuse func(error) error) {
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return refuse(fmt.Errorf("there is no command %q (see %s --help)", strings.Join(args, " "),
					c.Root().Name()))
			}
			return found.Help()
		},
	})
}

// Version gives root a flag --version, which prints text. Cobra's own way needs text/template, and with it the linker
// keeps 2 MB that nothing else calls. root.RunE is what root does without the flag.
func Version(root *cobra.Command, text string) {
	asked := root.Flags().Bool("version", false, "say the version, and end")
	run := root.RunE
	root.RunE = func(c *cobra.Command, args []string) error {
		if !*asked {
			return run(c, args)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), text)
		return err
	}
}
