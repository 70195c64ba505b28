// Command delta measures what a node downloads that has one version of a file and wants another: by Pawl's chunks,
// whole, by fixed blocks of 4 KiB as RAUC's adaptive updates compare them, and with -patch, which takes
// minutes, as a patch that is made for this pair alone.
//
//	go run ./internal/lab/bench/delta [-patch] DIR
//
// DIR has pairs of files, NAME.old and NAME.new; hack/bench-delta.sh makes them of Debian's packages. The registry is
// the one of the tests, and counts what it sends. A row with a bound ends in "ok" or "falls short"; the last line is
// for scripts.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

func main() {
	patch := flag.Bool("patch", false, "also make patches by zstd -19 --patch-from, the least that can be downloaded")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "delta bench: want a directory with pairs NAME.old and NAME.new")
		os.Exit(2)
	}
	if err := bench(context.Background(), flag.Arg(0), *patch); err != nil {
		fmt.Fprintln(os.Stderr, "delta bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, dir string, patch bool) error {
	pairs, err := filepath.Glob(filepath.Join(dir, "*.new"))
	if err != nil || len(pairs) == 0 {
		return errors.Join(err, fmt.Errorf("no pairs NAME.old and NAME.new in %s", dir))
	}
	rows, bounds, short := 0, 0, 0
	for _, path := range pairs {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		name := strings.TrimSuffix(path, ".new")
		r, err := measure(ctx, name+".old", path, patch)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rows++
		fmt.Printf("delta: %s bytes=%d chunks=%d requests=%d seconds=%.1f whole=%d blocks=%d patch=%d\n",
			filepath.Base(name), r.size, r.chunks, r.requests, r.seconds, r.whole, r.blocks, r.patch)
		for what, most := range map[string]int64{"whole": r.whole, "blocks of 4 KiB": r.blocks} {
			verdict := "ok"
			if bounds++; float64(r.chunks) > 1.01*float64(most) { // tables, for what no chunk is found of
				verdict, short = "falls short", short+1
			}
			fmt.Printf("delta: %s chunks / %s %.2f at most 1.01 %s\n", filepath.Base(name), what,
				float64(r.chunks)/float64(most), verdict)
		}
	}
	fmt.Printf("delta: rows=%d bounds=%d short=%d\n", rows, bounds, short)
	return nil
}

// row is what was downloaded for one pair, each in bytes.
type row struct {
	size, chunks, whole, blocks, patch int64
	requests                           int
	seconds                            float64
}

func measure(ctx context.Context, old, new string, patches bool) (r row, err error) {
	if err := r.pull(ctx, old, new); err != nil {
		return r, err
	}
	if r.blocks, err = blocks(old, new); err != nil || !patches {
		return r, err
	}
	patch, err := exec.CommandContext(ctx, "zstd", "-q", "-19", "-T0", "--long=31", "-c", "--patch-from", old,
		new).Output()
	r.patch = int64(len(patch))
	return r, err
}

// pull packs the new file, pushes it, and pulls it by what the old one has.
func (r *row) pull(ctx context.Context, old, new string) error {
	reg, err := testregistry.Serve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer reg.Close()
	ref, err := push(ctx, reg.Host(), new)
	if err != nil {
		return err
	}
	reg.Heal()
	local, err := os.Open(old)
	if err != nil {
		return err
	}
	defer local.Close()
	info, err := local.Stat()
	if err != nil {
		return err
	}
	begin := time.Now()
	img, err := image.Open(ctx, ref, image.Options{Arch: "amd64", Keychain: authn.NewMultiKeychain()})
	if err != nil {
		return err
	}
	var o image.PullOptions
	o.Delta, err = img.Delta(ctx, o, []image.Local{{ReaderAt: local, Size: info.Size()}})
	if err != nil {
		return err
	}
	h := sha256.New()
	err = img.Pull(ctx, o, func(a image.Asset, from io.Reader) error {
		r.size, err = io.Copy(h, from)
		return err
	})
	if err == nil && fmt.Sprintf("%x", h.Sum(nil)) != img.Assets[0].SHA256 {
		err = errors.New("other bytes came out")
	}
	r.seconds, r.whole = time.Since(begin).Seconds(), img.Size
	for _, q := range reg.Requests() {
		if strings.Contains(q.Path, "/blobs/") {
			r.chunks, r.requests = r.chunks+q.Bytes, r.requests+1
		}
	}
	return err
}

func push(ctx context.Context, host, file string) (string, error) {
	dir, err := os.MkdirTemp("", "delta-bench-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	layout, err := pack.Create(filepath.Join(dir, "layout"))
	if err != nil {
		return "", err
	}
	asset, err := pack.File("images/root", file)
	if err != nil {
		return "", err
	}
	built, err := layout.Add(ctx, pack.Image{Version: "2", Arch: "amd64", Assets: []pack.Asset{asset}})
	if err == nil {
		err = layout.Tag("v2", built)
	}
	if err != nil {
		return "", err
	}
	return layout.Push(ctx, built, host+"/os:v2", pack.PushOptions{Keychain: authn.NewMultiKeychain()})
}

// blocks is what a node downloads that knows by a list of SHA-256 which blocks of 4 KiB it has somewhere: the others,
// each run of them packed by itself, and the list.
func blocks(old, new string) (int64, error) {
	const size = 4096
	a, err := os.ReadFile(old)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(new)
	if err != nil {
		return 0, err
	}
	has := map[[32]byte]bool{}
	for at := 0; at < len(a); at += size {
		has[sha256.Sum256(a[at:min(at+size, len(a))])] = true
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		return 0, err
	}
	total, run := int64(0), bytes.Buffer{}
	flush := func() {
		total += int64(len(e.EncodeAll(run.Bytes(), nil)))
		run.Reset()
	}
	for at := 0; at < len(b); at += size {
		p := b[at:min(at+size, len(b))]
		if total += 32; has[sha256.Sum256(p)] {
			flush()
		} else if run.Write(p); run.Len() >= 1<<20 {
			flush()
		}
	}
	flush()
	return total, e.Close()
}
