// Package pack makes installer images: the OCI image that carries one version's boot assets under /usr/install/<arch>/.
//
// Start with Create, which makes or opens an OCI image layout on disk. Layout.Add writes an image into it, one layer an
// asset; Layout.Index joins the images of several architectures; Layout.Tag names the result; Layout.Push copies it to
// a registry. UKI puts a unified kernel image together while it is being packed.
//
// The same input gives the same bytes: names, order and times inside come from the input alone. Assets are streamed, so
// memory does not grow with their size. A layout is never left naming something that is not whole: blobs are written
// under a temporary name first, and index.json is replaced last.
//
// [Layout.Sign] signs the result as cosign does with a key. The package does not delete blobs that nothing names any
// more.
//
// Specifications: OCI image format 1.1, image layout 1.0, distribution 1.1. The list of assets is described at
// [format].
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image/format"
)

// Annotations that Add writes into the image's manifest and, for [VersionAnnotation], the index entry: see package
// [format].
const (
	VersionAnnotation = format.VersionAnnotation
	CreatedAnnotation = format.CreatedAnnotation // Image.Created, if that is set
	AssetsAnnotation  = format.AssetsAnnotation

	InstallerAnnotation = format.InstallerAnnotation // of a base: see [Image.Entrypoint]
)

// Names of assets that an installer looks for: see package [format].
const (
	UKIAsset      = format.UKI
	KernelAsset   = format.Kernel
	InitrdAsset   = format.Initrd
	CmdlineAsset  = format.Cmdline
	LoaderAsset   = format.SystemdBoot
	ShimAsset     = format.Shim
	GRUBEFIAsset  = format.GRUBEFI
	GRUBBootAsset = format.GRUBBoot
	GRUBCoreAsset = format.GRUBCore
)

// Image is what Add packs.
type Image struct {
	// the version of the operating system, as bootloader.CheckVersion has it, and as the UKI's os-release says;
	// required
	Version     string
	Arch        string      // GOARCH; required
	Assets      []Asset     // the lowest layer first, the last is read first; none in a base only, see Entrypoint
	Compression Compression // the zero value is Zstd
	Created     time.Time   // recorded in the image and on each file; zero is the Unix epoch and is not recorded

	// Entrypoint is the program that a container of this image runs; Asset.Name is its path, such as
	// "usr/bin/installer". Zero: none. It is in the lowest layer, which nobody reads for the assets.
	//
	// An image that has it and no assets is a base, for others to put their assets on. Version is then that of the
	// program: it is in [InstallerAnnotation], so that what is built on the base does not state it as its own.
	Entrypoint Asset

	// Old are assets of earlier versions, against which patches are made: layers of their own, which a node reads that
	// has exactly that asset. Only with Zstd. See package [patches].
	Old []Old

	// Annotations are added to the manifest. The four above cannot be given here.
	Annotations map[string]string
}

// Asset is one file of an image.
type Asset struct {
	Name  string                  // below usr/install/<arch>/, with forward slashes
	Size  int64                   // bytes
	Write func(w io.Writer) error // writes exactly Size bytes; called once for each Add

	Verity string // root hash of the tree that is appended to a file system image: see [format.Asset]
}

// Old is an asset of an earlier version.
type Old struct {
	Asset string // its name, and that of the asset that a patch makes of it
	io.ReaderAt
	Size int64
}

// Data is an asset that holds data.
func Data(name string, data []byte) Asset {
	return Asset{Name: name, Size: int64(len(data)), Write: func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	}}
}

// File is an asset with the content that the file at path has when Add runs. It must not change its size until then.
func File(name, path string) (Asset, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Asset{}, fmt.Errorf("asset %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return Asset{}, fmt.Errorf("asset %s: %s is no regular file", name, path)
	}
	return Asset{Name: name, Size: info.Size(), Write: func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}}, nil
}

// check refuses what could not be read back.
func (i Image) check() error {
	if i.Version == "" {
		return errors.New("no version given")
	}
	if err := bootloader.CheckVersion(i.Version); err != nil {
		return err
	}
	if i.Arch == "" || strings.ContainsAny(i.Arch, "/\\") {
		return fmt.Errorf("architecture %q: want a GOARCH such as amd64", i.Arch)
	}
	if len(i.Assets) == 0 && i.Entrypoint.Name == "" {
		return errors.New("no assets given, and no entrypoint")
	}
	if len(i.Old) > 0 && i.Compression != Zstd {
		return fmt.Errorf("patches against old assets go with zstd, not with compression %s", i.Compression)
	}
	seen := map[string]bool{}
	for _, a := range i.Assets {
		switch {
		case !fs.ValidPath(a.Name) || a.Name == "." || strings.ContainsAny(a.Name, "\\\x00") ||
			strings.Contains(a.Name, ".wh."):
			return fmt.Errorf("asset name %q: want a plain relative path", a.Name)
		case seen[a.Name]:
			return fmt.Errorf("asset %s is given twice", a.Name)
		case a.Size <= 0 || a.Write == nil:
			return fmt.Errorf("asset %s is empty", a.Name)
		}
		seen[a.Name] = true
	}
	for name := range seen {
		for up := path.Dir(name); up != "."; up = path.Dir(up) {
			if seen[up] {
				return fmt.Errorf("asset %s lies in %s, which is a file", name, up)
			}
		}
	}
	if e := i.Entrypoint; e.Name != "" && (!fs.ValidPath(e.Name) || e.Size <= 0 || e.Write == nil ||
		strings.HasPrefix(e.Name+"/", format.Root+"/")) {
		return fmt.Errorf("entrypoint %q: want a program outside of usr/install", e.Name)
	}
	for _, key := range []string{VersionAnnotation, CreatedAnnotation, AssetsAnnotation, InstallerAnnotation} {
		if _, given := i.Annotations[key]; given {
			return fmt.Errorf("annotation %s is written by this package and cannot be given", key)
		}
	}
	return nil
}
