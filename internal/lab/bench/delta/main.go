// Command delta measures what a node downloads that has one version of a file and wants another: by Pawl's chunks, by
// Pawl's patch, whole, by fixed blocks of 4 KiB as RAUC's adaptive updates compare them, and with -floor, which takes
// minutes, as zstd's own patch at its level 19, of the whole file against the whole old one. Pawl's patches are packed
// by the best level of the library that makes them, which is none of zstd's.
//
//	go run ./internal/lab/bench/delta [-floor] DIR
//
// DIR has pairs of files, NAME.old and NAME.new; hack/bench-delta.sh makes them of Debian's packages. Of an initramfs
// there is one more row, as `installer pack --repack` stores it. The registry is the one of the tests, and counts what
// it sends; each pull is a process of its own, whose memory is its own. A row with a bound ends in "ok" or "falls
// short"; the last line is for scripts.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image/pack"
)

func main() {
	floor := flag.Bool("floor", false, "also make patches by zstd -19 --patch-from, the least that can be downloaded")
	pulled := flag.String("pull", "", "what each pull is: it pulls this reference, by what the file DIR has")
	size := flag.Int64("size", 0, "with -pull: so many bytes of the file")
	flag.Parse()
	if *pulled != "" {
		if err := pull(context.Background(), *pulled, flag.Arg(0), *size); err != nil {
			fmt.Fprintln(os.Stderr, "delta bench:", err)
			os.Exit(1)
		}
		return
	}
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
	var t table
	for _, path := range pairs {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		name := strings.TrimSuffix(path, ".new")
		err := t.row(ctx, filepath.Base(name), name+".old", path, floor)
		if err == nil && strings.HasPrefix(filepath.Base(name), "initramfs") {
			err = t.repacked(ctx, filepath.Base(name), name+".old", path, floor)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Printf("delta: rows=%d bounds=%d short=%d\n", t.rows, t.bounds, t.short)
	return nil
}

// table is what is counted.
type table struct{ rows, bounds, short int }

// maxMemory is what a pull may take at most, in MiB.
const maxMemory = 40

// row measures one pair and prints what it found.
func (t *table) row(ctx context.Context, name, old, new string, floor bool) error {
	r, err := measure(ctx, old, new, floor)
	if err != nil {
		return err
	}
	t.rows++
	chunks, patch := r.chunks, r.patch
	fmt.Printf("delta: %s bytes=%d chunks=%d requests=%d seconds=%.1f memory=%dMiB patch=%d requests=%d seconds=%.1f "+
		"memory=%dMiB whole=%d blocks=%d floor=%d\n", name, r.size, chunks.bytes, chunks.requests, chunks.seconds,
		chunks.Memory, patch.bytes, patch.requests, patch.seconds, patch.Memory, r.whole, r.blocks, r.floor)
	for _, b := range []struct {
		what    string
		got, of int64
		most    float64
	}{
		{"chunks / whole", chunks.bytes, r.whole, 1.01}, // tables, for what no chunk is found of
		{"chunks / blocks of 4 KiB", chunks.bytes, r.blocks, 1.01},
		{"patch / zstd -19 --patch-from", patch.bytes, r.floor, 1.15},
		{"memory of chunks / 40 MiB", int64(chunks.Memory), maxMemory, 1},
		{"memory of a patch / 40 MiB", int64(patch.Memory), maxMemory, 1},
	} {
		if b.of == 0 {
			continue
		}
		verdict, at := "ok", float64(b.got)/float64(b.of)
		if at > b.most {
			verdict = "falls short"
			t.short++
		}
		t.bounds++
		fmt.Printf("delta: %s %s %.2f at most %.2f %s\n", name, b.what, at, b.most, verdict)
	}
	return nil
}

// repacked is the row of an initramfs that is stored uncompressed.
func (t *table) repacked(ctx context.Context, name, old, new string, floor bool) error {
	dir, err := os.MkdirTemp("", "delta-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	paths := []string{old, new}
	for i, path := range paths {
		paths[i] = filepath.Join(dir, filepath.Base(path))
		if err := repack(path, paths[i]); err != nil {
			return err
		}
	}
	return t.row(ctx, name+"-repacked", paths[0], paths[1], floor)
}

func repack(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(pack.Initramfs(out, in), out.Close())
}

// row is what was downloaded for one pair, each in bytes.
type row struct {
	size, whole, blocks, floor int64
	chunks, patch              download
}

type download struct {
	told
	bytes    int64
	requests int
	seconds  float64
}

func measure(ctx context.Context, old, new string, floor bool) (r row, err error) {
	if err := r.both(ctx, old, new); err != nil {
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
