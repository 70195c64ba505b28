package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/pawl-os/pawl/examples/os/usage"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

const rootAsset = "images/root"

// told is what a pull says of itself.
type told struct {
	Size, Whole int64 // of what came out, and of what a pull without another way would have fetched
	Memory      int   // most, resident, in MiB
}

// both packs the new file with a patch against the old one, pushes it, and pulls it by what the old one has, with the
// patch and without.
func (r *row) both(ctx context.Context, old, new string) error {
	reg, err := testregistry.Serve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer reg.Close()
	local, err := os.Open(old)
	if err != nil {
		return err
	}
	defer local.Close()
	info, err := local.Stat()
	if err != nil {
		return err
	}
	ref, err := push(ctx, reg.Host(), new, pack.Old{Asset: rootAsset, ReaderAt: local, Size: info.Size()})
	if err != nil {
		return err
	}
	if err := r.patch.fetch(ctx, reg, ref, old, info.Size()); err != nil {
		return err
	}
	// A byte less is another old file, for which there is no patch.
	if err := r.chunks.fetch(ctx, reg, ref, old, info.Size()-1); err != nil {
		return err
	}
	r.size, r.whole = r.patch.Size, r.patch.Whole
	return nil
}

// fetch pulls once, in a process of its own, by so many bytes of the old file.
func (d *download) fetch(ctx context.Context, reg *testregistry.Registry, ref, old string, size int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	reg.Heal()
	begin := time.Now()
	c := exec.CommandContext(ctx, self, "-pull", ref, "-size", fmt.Sprint(size), old)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return err
	}
	d.seconds = time.Since(begin).Seconds()
	for _, q := range reg.Requests() {
		if strings.Contains(q.Path, "/blobs/") {
			d.bytes, d.requests = d.bytes+q.Bytes, d.requests+1
		}
	}
	return json.Unmarshal(out, &d.told)
}

// pull is such a process. What comes out is hashed and forgotten.
func pull(ctx context.Context, ref, old string, size int64) error {
	local, err := os.Open(old)
	if err != nil {
		return err
	}
	defer local.Close()
	img, err := image.Open(ctx, ref, image.Options{Arch: "amd64", Keychain: authn.NewMultiKeychain()})
	if err != nil {
		return err
	}
	var o image.PullOptions
	t := told{Whole: img.PullSize(o)}
	if o.Delta, err = img.Delta(ctx, o, []image.Local{{ReaderAt: local, Size: size}}); err != nil {
		return err
	}
	h := sha256.New()
	err = img.Pull(ctx, o, func(_ image.Asset, from io.Reader) (err error) {
		t.Size, err = io.Copy(h, from)
		return err
	})
	if err == nil && fmt.Sprintf("%x", h.Sum(nil)) != img.Assets[0].SHA256 {
		err = errors.New("other bytes came out")
	}
	if err != nil {
		return err
	}
	if t.Memory, err = usage.Memory(os.Getpid(), "VmHWM:"); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}
