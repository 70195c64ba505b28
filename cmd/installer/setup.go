package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/nearest"
)

// setup is an install by the system that a medium has started.
type setup struct {
	installRecipe
	medium, then string
	sys, dev     string // where the kernel tells of drives, and their nodes
	cmdline      string // file with the kernel's arguments
	firmware     string // directory that UEFI has
}

// serialWidth is how wide a terminal is taken to be that does not say it, as on a serial line, in characters.
const serialWidth = 79

// argumentPrefix begins each kernel argument that is a flag of the setup.
const argumentPrefix = "pawl.install."

// setupCommand installs from the medium that this system runs from.
func setupCommand() *cobra.Command {
	s := &setup{sys: "/sys", dev: "/dev", cmdline: "/proc/cmdline", firmware: "/sys/firmware/efi"}
	return s.command()
}

func (s *setup) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "setup [--medium DRIVE]",
		Short: "Install from the medium that this system runs from, by a configuration or by four questions",
		Long: "Install from the medium that this system runs from, by a configuration or by four questions.\n\n" +
			"The medium has " + mediumImage + ", the image as an oci-archive, and " + mediumConfig + ", the flags of this\n" +
			"command as keys. A file " + configFile + " on a FAT32 volume or partition " + configVolume +
			" wins over that one, kernel\n" +
			"arguments such as " + argumentPrefix + "disk-bus=nvme over both, and flags over all. Where none of these says " +
			"which disk,\n" +
			"it is asked for.",
		Args: none,
	}
	s.flags(c)
	f := c.Flags()
	f.StringVar(&s.medium, "medium", "", "the drive to install from (default: the one that has something to install)")
	f.StringVar(&s.then, "then", "nothing", "what to do once all is installed: nothing, reboot or poweroff")
	profileFlag(c, &s.profile)
	c.RunE = func(c *cobra.Command, _ []string) error { return s.run(c) }
	return c
}

// run reads the configuration, asks where that says no disk, and installs.
func (s *setup) run(c *cobra.Command) (err error) {
	if err := applyProfile(c, s.profile); err != nil {
		return err
	}
	m, err := s.configure(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := commandline.Word("then", s.then, "nothing", "reboot", "poweroff"); err != nil {
		return usageError{err}
	}
	s.to.medium = m.path
	if out(c).Terminal() {
		s.width = serialWidth
	}
	if s.from.ref == "" && m.has(mediumImage) {
		s.from.ref, s.from.archive = "oci-archive:"+mediumImage, m.archive
	}
	img, err := s.from.open(c)
	if err != nil {
		return err
	}
	if !c.Flags().Changed("loader") {
		s.loader = s.fitting(img)
	}
	w := out(c)
	w.Printf("This installs %s (%s) from %s.\n", img.Version, img.Digest, m.path)
	if !s.to.said() {
		if err := s.ask(c); err != nil {
			return err
		}
	}
	to, err := s.installRecipe.run(c)
	if err != nil {
		w.Printf("Nothing boots from the disk %s that was not there before. Start this again once the cause is mended.\n",
			to)
		return err
	}
	w.Printf("\n%s is installed on %s. What to do next:\n", img.Version, to)
	w.Printf("  1. take %s out, or have the firmware start %s first\n", m.path, to)
	w.Printf("  2. restart the machine; it starts %s\n", img.Version)
	w.Printf("  3. there, `installer status` says what runs, and `installer doctor` what the next boots start\n")
	return s.end()
}

// configure finds the medium, and gives the flags that were not given what the configurations say, the strongest first.
func (s *setup) configure(c *cobra.Command) (_ *medium, err error) {
	labels, err := s.labels.parse()
	if err != nil {
		return nil, err
	}
	if err := s.arguments(c.Flags()); err != nil {
		return nil, err
	}
	paths, err := drives(s.sys, s.dev)
	if err != nil {
		return nil, err
	}
	var m *medium
	if s.medium != "" {
		m, err = openMedium(s.medium, labels)
		paths = append(paths, s.medium)
	} else {
		m, err = findMedium(paths, labels)
	}
	if err != nil {
		return nil, err
	}
	name, data, err := volumeConfig(paths)
	if err == nil && data != nil {
		err = applyConfig(c, name, data)
	}
	if err == nil && m.has(mediumConfig) {
		if data, err = readSmall(m.boot, mediumConfig); err == nil {
			err = applyConfig(c, mediumConfig+" of "+m.path, data)
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// applyConfig applies a configuration; one without a word says nothing.
func applyConfig(c *cobra.Command, name string, data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return applyPairs(c, name, data)
}

// arguments takes flags from the kernel's arguments.
func (s *setup) arguments(flags *pflag.FlagSet) error {
	line, err := os.ReadFile(s.cmdline)
	if err != nil {
		return fmt.Errorf("read the kernel's arguments: %w", err)
	}
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	for _, a := range cmdline.Split(string(line)) {
		name, ours := strings.CutPrefix(a.Name, argumentPrefix)
		if !ours || given[name] {
			continue
		}
		if flags.Lookup(name) == nil || notInProfiles[name] {
			return usageError{fmt.Errorf("kernel argument %s: there is none of that name%s", a.Name,
				nearest.Hint(name, profileKeys(flags)))}
		}
		if err := flags.Set(name, a.Value); err != nil {
			return usageError{fmt.Errorf("kernel argument %s: %w", a.Name, err)}
		}
	}
	return nil
}

// fitting is the loader for this machine's firmware, of those that the image has.
func (s *setup) fitting(img *image.Image) string {
	if _, err := os.Stat(s.firmware); err != nil {
		return loaders.GRUBBIOS
	}
	for _, name := range []string{loaders.SystemdBoot, loaders.GRUBUEFI} {
		backend, err := loaders.Named(name)
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(backend.Takes().Install, func(needed string) bool {
			return !slices.ContainsFunc(img.Assets, func(a image.Asset) bool { return a.Name == needed })
		}) {
			return name
		}
	}
	return loaders.SystemdBoot
}

// end does what is to be done once all is installed.
func (s *setup) end() error {
	how := map[string]int{"reboot": unix.LINUX_REBOOT_CMD_RESTART, "poweroff": unix.LINUX_REBOOT_CMD_POWER_OFF}[s.then]
	if how == 0 {
		return nil
	}
	unix.Sync()
	return unix.Reboot(how)
}
