// Command delta measures what a node downloads that has one version of a file and wants another: by Pawl's chunks, by
// Pawl's patch, whole, by fixed blocks of 4 KiB as RAUC's adaptive updates compare them, and with -floor, which takes
// minutes, as zstd's own patch at its level 19, of the whole file against the whole old one. Pawl's patches are packed
// by the best level of the library that makes them, which is none of zstd's.
//
//	go run ./internal/lab/bench/delta [-floor] DIR
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
	floor := flag.Bool("floor", false, "also make patches by zstd -19 --patch-from, the least that can be downloaded")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "delta bench: want a directory with pairs NAME.old and NAME.new")
		os.Exit(2)
	}
	if err := bench(context.Background(), flag.Arg(0), *floor); err != nil {
		fmt.Fprintln(os.Stderr, "delta bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, dir string, floor bool) error {
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
		r, err := measure(ctx, name+".old", path, floor)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rows++
		fmt.Printf("delta: %s bytes=%d chunks=%d requests=%d seconds=%.1f patch=%d requests=%d seconds=%.1f whole=%d "+
			"blocks=%d floor=%d\n", filepath.Base(name), r.size, r.chunks.bytes, r.chunks.requests, r.chunks.seconds,
			r.patch.bytes, r.patch.requests, r.patch.seconds, r.whole, r.blocks, r.floor)
		chunks, patch := r.chunks.bytes, r.patch.bytes
		for _, b := range []struct {
			what    string
			got, of int64
			most    float64
		}{
			{"chunks / whole", chunks, r.whole, 1.01}, // tables, for what no chunk is found of
			{"chunks / blocks of 4 KiB", chunks, r.blocks, 1.01},
			{"patch / zstd -19 --patch-from", patch, r.floor, 1.15},
		} {
			if b.of == 0 {
				continue
			}
			verdict, at := "ok", float64(b.got)/float64(b.of)
			if at > b.most {
				verdict, short = "falls short", short+1
			}
			bounds++
			fmt.Printf("delta: %s %s %.2f at most %.2f %s\n", filepath.Base(name), b.what, at, b.most, verdict)
		}
	}
	fmt.Printf("delta: rows=%d bounds=%d short=%d\n", rows, bounds, short)
	return nil
}

// row is what was downloaded for one pair, each in bytes.
type row struct {
	size, whole, blocks, floor int64
	chunks, patch              download
}

type download struct {
	bytes    int64
	requests int
	seconds  float64
}

func measure(ctx context.Context, old, new string, floor bool) (r row, err error) {
	if err := r.pull(ctx, old, new); err != nil {
		return r, err
	}
	if r.blocks, err = blocks(old, new); err != nil || !floor {
		return r, err
	}
	patch, err := exec.CommandContext(ctx, "zstd", "-q", "-19", "-T0", "--long=31", "-c", "--patch-from", old,
		new).Output()
	r.floor = int64(len(patch))
	return r, err
}

// pull packs the new file with a patch against the old one, pushes it, and pulls it by what the old one has, with the
// patch and without.
func (r *row) pull(ctx context.Context, old, new string) error {
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
	if err := r.fetch(ctx, reg, ref, &r.patch, image.Local{ReaderAt: local, Size: info.Size()}); err != nil {
		return err
	}
	// A byte less is another old file, for which there is no patch.
	return r.fetch(ctx, reg, ref, &r.chunks, image.Local{ReaderAt: local, Size: info.Size() - 1})
}

const rootAsset = "images/root"

// fetch pulls once.
func (r *row) fetch(ctx context.Context, reg *testregistry.Registry, ref string, to *download, from image.Local) error {
	reg.Heal()
	begin := time.Now()
	img, err := image.Open(ctx, ref, image.Options{Arch: "amd64", Keychain: authn.NewMultiKeychain()})
	if err != nil {
		return err
	}
	var o image.PullOptions
	r.whole = img.PullSize(o)
	if o.Delta, err = img.Delta(ctx, o, []image.Local{from}); err != nil {
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
	to.seconds = time.Since(begin).Seconds()
	for _, q := range reg.Requests() {
		if strings.Contains(q.Path, "/blobs/") {
			to.bytes, to.requests = to.bytes+q.Bytes, to.requests+1
		}
	}
	return err
}

func push(ctx context.Context, host, file string, old pack.Old) (string, error) {
	dir, err := os.MkdirTemp("", "delta-bench-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	layout, err := pack.Create(filepath.Join(dir, "layout"))
	if err != nil {
		return "", err
	}
	asset, err := pack.File(rootAsset, file)
	if err != nil {
		return "", err
	}
	built, err := layout.Add(ctx, pack.Image{Version: "2", Arch: "amd64", Assets: []pack.Asset{asset},
		Old: []pack.Old{old}})
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
