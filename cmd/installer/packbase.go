package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/image/pack"
)

// baseCommand makes an image that has an installer and nothing to install yet.
func baseCommand() *cobra.Command {
	var r recipe
	c := &cobra.Command{
		Use:   "base --program FILE --version VERSION --output DIR",
		Short: "Make an installer's base image: the program as entrypoint, on which others put what boots",
		Long: "Make an installer's base image: the program as entrypoint, and nothing that boots. Whoever builds on it " +
			"adds the\n" +
			"boot assets below /usr/install/ARCH. The same program gives the same bytes.",
		Args: none,
	}
	for _, f := range []struct {
		to             *string
		name, or, text string
	}{
		{&r.entrypoint, "program", "", "installer for the architecture, a program that needs no libraries"},
		{&r.version, "version", "", "version of the program"},
		{&r.arch, "arch", runtime.GOARCH, "architecture, as Go names it"},
		{&r.output, "output", "", "OCI layout to add the image to; made when it is not there"},
		{&r.tag, "tag", "", "tag in the layout (default: the version)"},
		{&r.signKey, "sign-key", "", "sign it, as for pack"},
		{&r.push, "push", "", "also push it, as HOST/REPOSITORY:TAG"},
	} {
		c.Flags().StringVar(f.to, f.name, f.or, f.text)
	}
	for _, name := range []string{"program", "version", "output"} {
		_ = c.MarkFlagRequired(name) // an error only if there were no such flag
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		reference, err := r.base(c.Context(), os.Getenv("SOURCE_DATE_EPOCH"))
		if err == nil {
			out(c).Printf("%s\n", reference)
		}
		return err
	}
	return c
}

func (r recipe) base(ctx context.Context, epoch string) (reference string, err error) {
	if err := checkArch(r.arch); err != nil {
		return "", usageError{err}
	}
	if err := r.checkTarget(); err != nil {
		return "", usageError{err}
	}
	img := pack.Image{Version: r.version, Arch: r.arch}
	if epoch != "" {
		if img.Created, err = parseEpoch(epoch); err != nil {
			return "", err
		}
	}
	if img.Entrypoint, err = r.program("program"); err != nil {
		return "", usageError{err}
	}
	return r.store(ctx, img)
}

// program is what a container of the image runs, which has to be for the image's architecture.
func (r recipe) program(flag string) (pack.Asset, error) {
	if err := r.runs(r.entrypoint); err != nil {
		return pack.Asset{}, fmt.Errorf("--%s: %w", flag, err)
	}
	a, err := pack.File("usr/bin/installer", r.entrypoint)
	if err != nil {
		return pack.Asset{}, fmt.Errorf("--%s: %w", flag, err)
	}
	return a, nil
}

// runs reads the header of an ELF file: bytes 0 to 3 are its magic, byte 4 its class, byte 5 its byte order, 18 and 19
// its machine. Specification: System V ABI, chapter 4.
func (r recipe) runs(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [20]byte
	if _, err := io.ReadFull(f, header[:]); err != nil || string(header[:4]) != "\x7fELF" || header[5] != 1 {
		return fmt.Errorf("%s is no program for Linux (give an installer that was built for %s)", path, r.arch)
	}
	machine := binary.LittleEndian.Uint16(header[18:])
	if a, err := arch.Named(r.arch); err == nil && a.ELF != machine {
		return fmt.Errorf("%s: it is for another architecture than %s, ELF machine %d (give the program for %s, or --arch)",
			path, r.arch, machine, r.arch)
	}
	return nil
}
