package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/verbs"
)

// held is what an image holds, as it is told.
type held struct {
	Reference   string            `json:"reference"`
	Digest      string            `json:"digest"`
	Manifest    string            `json:"manifest,omitempty"` // of this architecture, where an index has several
	Version     string            `json:"version,omitempty"`
	Arch        string            `json:"arch"`
	Download    int64             `json:"download"` // packed bytes, at most
	Files       []heldFile        `json:"files,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	SignedBy    []string          `json:"signedBy,omitempty"` // the keys that were asked for
	Whole       bool              `json:"whole,omitempty"`    // every byte was fetched, and is what its digest says
}

// heldFile is one file of an image.
type heldFile struct {
	Name      string   `json:"name"`
	Size      int64    `json:"size"`
	SHA256    string   `json:"sha256,omitempty"`  // empty where nothing lists it
	Resumable bool     `json:"resumable"`         // a download that was cut off goes on in its middle
	Says      []string `json:"says,omitempty"`    // what the file says of itself
	Signers   []string `json:"signers,omitempty"` // by whom firmware finds it signed
}

// inspectCommand says what an image holds. No node is asked.
func (c *cli) inspectCommand() *cobra.Command {
	var arch, registries string
	var keys []string
	var whole bool
	cmd := &cobra.Command{Use: "inspect IMAGE", Short: "What an image holds: version, files, sizes, signatures",
		Long: `What an image holds: version, files, sizes, signatures. No node is asked. An image is named as for upgrade:
HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG].

  pawl inspect registry.example.com/os:1.2 --key release.pub
  pawl inspect registry.example.com/os:1.2 --whole

Whether it would fit a node, and what an upgrade to it would do, is what "pawl plan --image IMAGE" says.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage{errors.New("inspect takes one image (see `pawl inspect --help`)")}
			}
			return nil
		}}
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "architecture of the image, as Go names it")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "file of a public key in PEM that must have signed it, as cosign does; "+
		"may be given more than once")
	cmd.Flags().StringVar(&registries, "registries", "",
		"file that names mirrors of registries, and certificates to trust")
	cmd.Flags().BoolVar(&whole, "whole", false,
		"fetch all of it: check every byte, and say what a UKI and a loader say of themselves")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, err := range []error{verbs.NotEmpty(cmd.Flags()), commandline.Word("output", c.output, outputs...)} {
			if err != nil {
				return usage{err}
			}
		}
		h, err := inspect(cmd.Context(), args[0], arch, registries, keys, whole)
		if err != nil {
			return err
		}
		c.value(map[string]any{"image": h})
		if !c.structured() {
			h.print(c)
		}
		return nil
	}
	return cmd
}

// inspect opens the image, and reads all of it if that is asked for.
func inspect(ctx context.Context, ref, arch, registries string, keys []string, whole bool) (held, error) {
	o := image.Options{Arch: arch}
	if registries != "" {
		r, err := image.ReadRegistries(registries)
		if err != nil {
			return held{}, usage{fmt.Errorf("--registries: %w", err)}
		}
		r.Fill(&o)
	}
	if len(keys) > 0 { // all must have signed it
		o.Policy = &image.Policy{Rules: []image.Rule{{References: []string{"*"}, Keys: keys}}}
	}
	img, err := image.Open(ctx, ref, o)
	if err != nil {
		return held{}, err
	}
	h := held{Reference: img.Reference, Digest: img.Digest, Version: img.Version, Arch: img.Arch, Download: img.Size,
		Annotations: img.Annotations, SignedBy: keys}
	if img.PlatformDigest != img.Digest {
		h.Manifest = img.PlatformDigest
	}
	for _, a := range img.Assets {
		h.Files = append(h.Files, heldFile{Name: a.Name, Size: a.Size, SHA256: a.SHA256, Resumable: img.Resumable(a)})
	}
	if whole {
		h.Files, h.Whole = nil, true
		err = img.Extract(ctx, func(a image.Asset, r io.Reader) error { return h.look(img, a, r) }, nil)
	}
	return h, err
}

// look reads a file of the image to its end, and hears what it says of itself.
func (h *held) look(img *image.Image, a image.Asset, r io.Reader) error {
	h.Files = slices.DeleteFunc(h.Files, func(f heldFile) bool { return f.Name == a.Name }) // a mirror's, streamed again
	f := heldFile{Name: a.Name, Resumable: img.Resumable(a)}
	digest := sha256.New()
	var err error
	if strings.HasSuffix(a.Name, ".efi") {
		err = f.program(io.TeeReader(r, digest))
	}
	if err == nil {
		_, err = io.Copy(digest, r)
	}
	if err != nil {
		return err
	}
	f.Size, f.SHA256 = a.Size, hex.EncodeToString(digest.Sum(nil))
	h.Files = append(h.Files, f)
	return nil
}

// program is what a program for EFI says. One that cannot be read says so.
func (f *heldFile) program(r io.Reader) error {
	temporary, err := os.CreateTemp("", "pawl-inspect-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	defer temporary.Close()
	size, err := io.Copy(temporary, r)
	if err != nil {
		return err
	}
	parsed, err := uki.Parse(temporary, size)
	if err != nil {
		f.Says = append(f.Says, err.Error())
		return nil
	}
	f.Says = append(f.Says, "for "+parsed.Arch)
	if f.Name == format.UKI {
		for _, section := range []struct{ name, of string }{{uki.Uname, "kernel"}, {uki.Cmdline, "arguments"}} {
			if text, err := parsed.Text(section.name); err == nil {
				f.Says = append(f.Says, section.of+" "+text)
			}
		}
		if release, err := parsed.Release(); err == nil {
			f.Says = append(f.Says, "version "+release["VERSION_ID"])
		}
	}
	signed, err := authenticode.ReadAt(temporary, size)
	if err != nil {
		f.Says = append(f.Says, err.Error())
		return nil
	}
	for _, signer := range signed.Signers() {
		f.Signers = append(f.Signers, signer.Subject.String())
	}
	if bad := signed.Bad(); bad != nil {
		f.Says = append(f.Says, "a signature that does not count: "+bad.Error())
	}
	return nil
}

// print tells h to a person.
func (h held) print(c *cli) {
	c.out.Printf("%s\n", h.Reference)
	var rows [][]string
	row := func(cells ...string) { rows = append(rows, cells) }
	row("digest", h.Digest)
	if h.Manifest != "" {
		row("manifest", h.Manifest)
	}
	if h.Version == "" {
		row("version", "not stated; the system's own counts")
	} else {
		row("version", h.Version)
	}
	row("for", h.Arch)
	row("download", bytesize.Text(h.Download)+" at most")
	for _, f := range h.Files {
		resumable := ""
		if f.Resumable {
			resumable = "resumable"
		}
		row("file", f.Name, bytesize.Text(f.Size), show.Short("sha256:"+f.SHA256), resumable)
		for _, text := range f.Says {
			row("", "", text)
		}
		for _, signer := range f.Signers {
			row("", "", "signed by "+signer)
		}
	}
	if len(h.Files) == 0 {
		row("files", "not listed by who built it; --whole finds them")
	}
	for _, name := range slices.Sorted(maps.Keys(h.Annotations)) {
		if name == format.AssetsAnnotation || name == format.VersionAnnotation {
			continue // they are told above
		}
		row("note", name+"="+h.Annotations[name])
	}
	for _, key := range h.SignedBy {
		row("signed", "by "+key)
	}
	if h.Whole {
		row("whole", "every byte is what its digest says")
	}
	c.out.Rows("  ", rows)
}
