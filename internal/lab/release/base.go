package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// baseImage is what the installer's base image is called.
const baseImage = "installer-base"

// base makes the installer's base image of all architectures by the installer itself, twice, and gives out the OCI
// layout as an archive. What another library finds in it has to be the programs that are given out.
func (r *release) base(ctx context.Context) error {
	var digests [2]string
	var err error
	for try := range digests {
		key := "" // signatures differ from one time to the next
		if try == 1 {
			key = r.key
		}
		if digests[try], err = r.packBase(ctx, r.baseLayout(try), key); err != nil {
			return err
		}
	}
	if digests[0] != digests[1] {
		return fmt.Errorf("%s: it is %s one time and %s the next", baseImage, digests[0], digests[1])
	}
	if err := r.checkBase(r.baseLayout(1), digests[1]); err != nil {
		return err
	}
	archive, err := archived(r.baseLayout(1))
	if err != nil {
		return err
	}
	fmt.Printf("release: %s: %s, %.1f MB, twice the same\n", baseImage, digests[1], float64(len(archive))/1e6)
	return r.give(baseImage+".oci.tar", archive, 0o644)
}

func (r *release) baseLayout(try int) string {
	return filepath.Join(r.work, fmt.Sprintf("base-%d", try))
}

// packBase packs the image of each architecture into a layout, joins them, and returns the digest of the whole.
func (r *release) packBase(ctx context.Context, to, key string) (digest string, err error) {
	pack := func(args ...string) (string, error) {
		if key != "" {
			args = append(args, "--sign-key", key)
		}
		said, err := output(ctx, ".", []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix())}, r.own("installer"),
			append([]string{"pack"}, append(args, "--output", to)...)...)
		_, digest, _ := strings.Cut(said, "@")
		return digest, err
	}
	index := []string{"index", "--tag", strings.ReplaceAll(r.version, "+", "-")}
	r.images = map[string]string{}
	for _, arch := range architectures {
		if r.images[arch], err = pack("base", "--program", r.built("first", arch, forNodes), "--version", r.version,
			"--arch", arch, "--tag", arch); err != nil {
			return "", err
		}
		index = append(index, arch)
	}
	return pack(index...)
}

// checkBase reads the images by another library, which compares each blob with its digest: each has to run the program
// for its architecture, and to hold nothing else.
func (r *release) checkBase(dir, digest string) error {
	from, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	top, err := from.ImageIndex()
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return err
	}
	index, err := top.ImageIndex(hash)
	if err != nil {
		return err
	}
	listed, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(listed.Manifests) != len(architectures) {
		return fmt.Errorf("%s: it has %d images, want %d", baseImage, len(listed.Manifests), len(architectures))
	}
	for n, arch := range architectures {
		img, err := index.Image(listed.Manifests[n].Digest)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(r.built("first", arch, forNodes))
		if err != nil {
			return err
		}
		if err := runs(img, arch, want); err != nil {
			return fmt.Errorf("%s for %s: %w", baseImage, arch, err)
		}
	}
	return nil
}

// runs refuses an image that does not run that program, or has another file.
func runs(img v1.Image, arch string, program []byte) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if config.Architecture != arch || len(config.Config.Entrypoint) != 1 {
		return fmt.Errorf("it is for %q and runs %q", config.Architecture, config.Config.Entrypoint)
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	found := false
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			return err
		}
		defer content.Close()
		files := tar.NewReader(content)
		for {
			header, err := files.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if header.Typeflag == tar.TypeDir {
				continue
			}
			data, err := io.ReadAll(files)
			if err != nil {
				return err
			}
			if "/"+header.Name != config.Config.Entrypoint[0] || header.Mode != 0o755 || !bytes.Equal(data, program) {
				return fmt.Errorf("%s, of mode %#o, is not the program that is given out", header.Name, header.Mode)
			}
			found = true
		}
	}
	if !found {
		return errors.New("its program is not in it")
	}
	return nil
}

// archived is a directory as a tar archive that says nothing of when and by whom it was made.
func archived(dir string) ([]byte, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range names {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
			Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err = w.Close() // which writes the archive's end
	return b.Bytes(), err
}
