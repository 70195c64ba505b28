package main

import (
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// Exit codes. Scripts may rely on them.
const (
	exitOther   = 1 // anything else: the message says what
	exitUsage   = 2 // wrong arguments
	exitImage   = 3 // the image cannot be used: not found, wrong platform, tampered with, nothing to boot in it
	exitRefused = 4 // the machine's state forbids it: a trial runs, another operation runs, something foreign is in the way
)

// code maps an error to the exit code that stands for what to do next.
func code(err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, new(usageError)):
		return exitUsage
	case is(image.ErrNotFound, image.ErrUnreachable, image.ErrDenied, image.ErrPlatform, image.ErrTampered, image.ErrNoAssets, image.ErrUnsafe, upgrade.ErrUnfit, upgrade.ErrDoesNotFit):
		return exitImage
	case is(upgrade.ErrTrial, upgrade.ErrSame, upgrade.ErrKnownBad, upgrade.ErrNotComplete, upgrade.ErrNothingToRollBack, upgrade.ErrInUse,
		bootloader.ErrForeign, bootloader.ErrNoVariables, bootloader.ErrAmbiguous, partition.ErrBusy):
		return exitRefused
	}
	return exitOther
}

type usageError struct{ error }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "installer",
		Short:         "Install, upgrade and roll back a machine, one verified slot at a time",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.AddCommand(imageCommand(), installCommand(), planCommand(), upgradeCommand(), rollbackCommand(), confirmCommand(), statusCommand(), metaCommand())
	return c
}

// exactly is cobra.ExactArgs as a usage error.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(c, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// source are the flags that name an image.
type source struct {
	ref  string
	arch string
}

func (s *source) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.ref, "image", "", "installer image: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, or oci:DIRECTORY[:TAG]")
	c.Flags().StringVar(&s.arch, "arch", "", "architecture of the image, as Go names it (default: this machine's)")
	_ = c.MarkFlagRequired("image")
}

func (s *source) open(c *cobra.Command) (*image.Image, error) {
	return image.Open(c.Context(), s.ref, image.Options{Arch: s.arch})
}

// machine are the flags that name the machine's disk.
type machine struct{ disk string }

func (m *machine) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.disk, "disk", "", "the disk that the machine boots from: a block device, or a file that holds a disk image")
	_ = c.MarkFlagRequired("disk")
}

func (m *machine) open(readOnly bool) (*upgrade.Machine, error) {
	return upgrade.Open(m.disk, upgrade.OpenOptions{ReadOnly: readOnly, Log: logger()})
}

func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
