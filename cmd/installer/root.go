package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/internal/verbs"
)

type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// execute runs a command line and returns the exit code.
func execute(ctx context.Context, args []string, out, errs io.Writer) int {
	printed, said := terminal.To(out), terminal.To(errs)
	c := root()
	c.SetArgs(args)
	c.SetOut(printed)
	c.SetErr(said)
	err := c.ExecuteContext(ctx)
	if err == nil {
		err = printed.Err() // what was done is done; but nobody was told
	}
	if err == nil {
		return 0
	}
	return complain(said, err)
}

// out is where a command prints what it was asked for.
func out(c *cobra.Command) *terminal.Printer { return terminal.To(c.OutOrStdout()) }

// errs is where a command says how it goes.
func errs(c *cobra.Command) *terminal.Printer { return terminal.To(c.ErrOrStderr()) }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "installer",
		Short: "Install, upgrade and roll back a machine, one verified slot at a time",
		Long: "Install, upgrade and roll back a machine, one verified slot at a time.\n\n" +
			"Exit codes: 0 done; 2 wrong arguments; 3 the image cannot be used; 4 the machine's state forbids it;\n" +
			"5 the disk is not one to work on; 6 doctor found something broken; 1 anything else. The message says " +
			"what, and what to do.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		// Before the flags that a command requires are looked for, so that a missing one is a usage error too.
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := cmp.Or(c.ValidateRequiredFlags(), verbs.NotEmpty(c.Flags())); err != nil {
				return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	verbs.Help(c, func(err error) error { return usageError{err} })
	c.AddCommand(builders()...)
	c.AddCommand(installCommand(), setupCommand(), planCommand(), upgradeCommand(), rollbackCommand(), confirmCommand(),
		loaderCommand(), statusCommand(), doctorCommand(), metaCommand(), diskCommand(), mirrorCommand(),
		adoptCommand())
	group(c)
	verbs.Version(c, buildinfo.Text("installer"))
	return c
}

// group makes c a command that only has others below it: it prints its help, and refuses what is none of them.
func group(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s has no command %q (see %s --help)", c.CommandPath(), args[0],
				c.CommandPath())}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// none refuses arguments: everything is a flag.
func none(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("argument %q: everything is a flag (see %s --help)", args[0], c.CommandPath())}
	}
	return nil
}

// source are the flags that name an image.
type source struct {
	ref        string
	arch       string
	attempts   int
	policy     string
	registries string
	archive    func(path string) (image.File, error) // opens what an oci-archive names; nil: a file of this machine
}

func (s *source) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.ref, "image", "",
		"installer image: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG], oci-archive:FILE[:TAG], "+
			"docker-archive:FILE[:TAG] or dir:DIR (default: in an installer's container, that one)")
	c.Flags().StringVar(&s.arch, "arch", runtime.GOARCH, "architecture of the image, as Go names it")
	c.Flags().IntVar(&s.attempts, "attempts", 5, "tries without progress before a registry is given up, 1 to 100")
	c.Flags().StringVar(&s.policy, "signature-policy", "",
		"file that says which keys must have signed the image (default "+image.PolicyFile+", where that is there)")
	c.Flags().StringVar(&s.registries, "registries", "",
		"file that names mirrors of registries, and certificates to trust (default "+image.RegistriesFile+
			", where that is there)")
}

// beside is the root of the file system in which the program runs: in its image's container, that image.
const beside = "/"

// named sees to it that there is an image: the one that was named, or the one that the program is the entrypoint of.
func (s *source) named(c *cobra.Command) error {
	if s.ref != "" {
		return nil
	}
	assets := filepath.Join(beside, format.Dir(s.arch))
	if _, err := os.Stat(assets); err != nil {
		return usageError{fmt.Errorf(`required flag(s) "image" not set (see %s --help), and there is no %s, as in an `+
			`installer's container`, c.CommandPath(), assets)}
	}
	s.ref = "dir:" + beside
	return nil
}

func (s *source) open(c *cobra.Command) (*image.Image, error) {
	if err := cmp.Or(checkArch(s.arch), commandline.Within("attempts", s.attempts, 1, 100)); err != nil {
		return nil, usageError{err}
	}
	if err := s.named(c); err != nil {
		return nil, err
	}
	policy, err := image.MachinePolicy()
	if s.policy != "" {
		policy, err = image.ReadPolicy(s.policy)
	}
	if err != nil {
		return nil, err
	}
	registries, err := image.MachineRegistries()
	if s.registries != "" {
		registries, err = image.ReadRegistries(s.registries)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("--registries: %w", err)}
	}
	o := image.Options{Arch: s.arch, OpenArchive: s.archive, Retry: image.Retry{Attempts: s.attempts}, Policy: policy}
	registries.Fill(&o)
	return image.Open(c.Context(), s.ref, o)
}

func checkArch(name string) error {
	if own := arch.Canonical(name); own != name {
		return fmt.Errorf("--arch %q: Go names it %s", name, own)
	}
	return commandline.Word("arch", name, append(arch.Names(), runtime.GOARCH)...)
}

func logger() *slog.Logger { return slog.New(slog.NewTextHandler(terminal.To(os.Stderr), nil)) }
