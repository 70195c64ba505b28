package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/internal/verbs"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
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
	c.AddCommand(imageCommand(), installCommand(), setupCommand(), packCommand(), planCommand(), upgradeCommand(),
		rollbackCommand(),
		confirmCommand(), loaderCommand(), statusCommand(), doctorCommand(), metaCommand(), diskCommand(),
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

// machine are the flags that name the machine. Without any it is the one that this runs on.
type machine struct {
	disk, efivars, osRelease string
	labels                   labels
}

func (m *machine) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.disk, "disk", "",
		"the disk that the machine boots from: a block device, or a file that holds a disk image (default: the one "+
			"that this machine booted from)")
	c.Flags().StringVar(&m.efivars, "efivars", efivar.Dir,
		"the machine's firmware variables: a mounted efivarfs, or a directory of such files")
	m.labels.flag(c)
	c.Flags().StringVar(&m.osRelease, "os-release", "",
		"file that states the version of the running system; in a container, the host's (default /etc/os-release)")
}

// labels is the flag that says how partitions are labelled.
type labels []string

func (l *labels) flag(c *cobra.Command) {
	c.Flags().StringArrayVar((*[]string)(l), "label", nil,
		"label of a partition that is not called as its role is, ROLE=LABEL, such as META=PAWL-META; the roles are "+
			strings.Trim(fmt.Sprint(partition.Roles()), "[]")+"; may be given more than once")
}

func (l labels) parse() (partition.Labels, error) {
	parsed, err := partition.ParseLabels(l...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--label: %w", err)}
	}
	return parsed, nil
}

func (m *machine) open(readOnly bool) (opened, error) {
	disk, o, err := m.options()
	if err != nil {
		return opened{}, err
	}
	if o.ReadOnly = readOnly; !readOnly {
		if err := writable(disk); err != nil {
			return opened{}, err
		}
	} else if in, err := held(disk); err != nil || in {
		if err != nil {
			return opened{}, err
		}
		file, err := openHeld(disk)
		if err != nil {
			return opened{}, err
		}
		on, err := upgrade.OpenDevice(file, o)
		if err != nil {
			return opened{}, errors.Join(fmt.Errorf("%s: %w", disk, err), file.Close())
		}
		return opened{on, file}, nil
	}
	on, err := upgrade.Open(disk, o)
	return opened{Machine: on}, err
}

// options are the disk and how it is opened.
func (m *machine) options() (disk string, o upgrade.OpenOptions, err error) {
	o.Loaders, o.Log = loaders.All(), logger()
	if o.Labels, err = m.labels.parse(); err != nil {
		return "", o, err
	}
	if o.Vars, err = variables(m.efivars); err != nil {
		return "", o, err
	}
	if o.Release = m.osRelease; o.Release != "" {
		if err := statesVersion(o.Release); err != nil {
			return "", o, err
		}
	}
	disk, err = m.path(o.Vars)
	return disk, o, err
}

// path is the disk that was named, or else the one that this machine booted from.
func (m *machine) path(vars efivar.Store) (string, error) {
	if m.disk != "" {
		return m.disk, exists(m.disk)
	}
	found, err := upgrade.Disk(vars)
	if err != nil {
		return "", usageError{fmt.Errorf("%w; name it with --disk", err)}
	}
	return found, nil
}

// exists refuses a disk that is not there.
func exists(disk string) error {
	if _, err := os.Stat(disk); err != nil {
		return usageError{fmt.Errorf("--disk: %w", err)}
	}
	return nil
}

// variables opens the firmware variables in dir.
func variables(dir string) (efivar.Store, error) {
	if dir == efivar.Dir {
		return efivar.Open(dir), nil // also where there is none: what needs variables says so
	}
	vars, err := efivar.OpenDir(dir)
	if err != nil {
		return nil, usageError{fmt.Errorf("--efivars: %w", err)}
	}
	return vars, nil
}

// statesVersion refuses an os-release file that does not say which version it is of.
func statesVersion(path string) error {
	data, err := os.ReadFile(path)
	if err == nil && uki.ParseRelease(string(data))["VERSION_ID"] == "" {
		err = fmt.Errorf("%s has no VERSION_ID", path)
	}
	if err != nil {
		return usageError{fmt.Errorf("--os-release: %w", err)}
	}
	return nil
}

func logger() *slog.Logger { return slog.New(slog.NewTextHandler(terminal.To(os.Stderr), nil)) }
