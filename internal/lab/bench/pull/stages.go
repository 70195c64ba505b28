package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/partition/direct"
)

// cost is what something took.
type cost struct{ wall, cpu time.Duration }

// measure runs f; pid is another process that works for it, or 0.
func measure(pid int, f func() error) (cost, error) {
	before, begin := cpuOf(pid), time.Now()
	err := f()
	return cost{time.Since(begin), cpuOf(pid) - before}, err
}

// cpuOf is the CPU time of this process and of another one. The kernel counts the other's in hundredths of a second.
func cpuOf(pid int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	total := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if pid == 0 || err != nil {
		return total
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[11:13] { // utime and stime
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}

// stages are the parts of a pull, each alone.
func (b *benchmark) stages(r *row) (map[string]cost, error) {
	packed, err := os.ReadFile(r.blob)
	if err != nil {
		return nil, err
	}
	out := map[string]cost{}
	for _, s := range []struct {
		name string
		pid  int
		do   func() error
	}{
		{"http", b.pid, func() error { return fetch(r.url) }},
		{"hash", 0, func() error { sha256.Sum256(packed); return nil }},
		{"twice", 0, func() error { return twice(packed) }},
		{"bare", b.pid, func() error { return bare(r.url, r.compression, b.scratch()) }},
		{"decode", 0, func() error { return decode(packed, r.compression) }},
		{"write", 0, func() error { return write(b.scratch(), b.size) }},
		{"back", 0, func() error { return readBack(b.scratch(), b.size) }},
	} {
		if s.name == "back" {
			b.syncScratch()
		}
		if out[s.name], err = measure(s.pid, s.do); err != nil {
			return nil, fmt.Errorf("%s: %s alone: %w", r.name(), s.name, err)
		}
	}
	return out, nil
}

// twice hashes in two goroutines at once: with two cores that takes as long as once, unless they share one.
func twice(data []byte) error {
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { sha256.Sum256(data) })
	}
	both.Wait()
	return nil
}

func fetch(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, make([]byte, 1<<20))
	return err
}

func decode(packed []byte, c pack.Compression) error {
	if c == pack.None {
		return nil // nothing to decode
	}
	from, done, err := unpack(bytes.NewReader(packed), c)
	if err != nil {
		return err
	}
	defer done()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{from}, make([]byte, 1<<20))
	return err
}

// unpack returns a decoder and what ends its use.
func unpack(from io.Reader, c pack.Compression) (r io.Reader, done func(), err error) {
	switch c {
	case pack.Gzip:
		if _, ok := from.(io.ByteReader); !ok {
			from = bufio.NewReaderSize(from, 64<<10)
		}
		r, err = gzip.NewReader(from)
		return r, func() {}, err
	case pack.Zstd:
		r, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return from, func() {}, nil
}

const early = 8 << 20 // bytes after which write-back is started

// write is a plain file of 1 MiB pieces, whose write-back starts early, and one flush.
func write(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := bytes.Repeat([]byte{7}, 1<<20)
	for off := int64(0); off < size; off += int64(len(piece)) {
		if _, err := f.WriteAt(piece[:min(int64(len(piece)), size-off)], off); err != nil {
			return err
		}
		if off%early == 0 && off > 0 {
			if err := unix.SyncFileRange(int(f.Fd()), off-early, early, unix.SYNC_FILE_RANGE_WRITE); err != nil {
				return err
			}
		}
	}
	return direct.Sync(f)
}

func (b *benchmark) scratch() string { return filepath.Join(b.tmp, "scratch") }

func (b *benchmark) syncScratch() {
	if f, err := os.Open(b.scratch()); err == nil {
		_ = f.Sync()
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		_ = f.Close()
	}
}

// readBack reads past the page cache, and hashes.
func readBack(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := direct.Open(f)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{io.NewSectionReader(r, 0, size)},
		direct.Buffer(1<<20))
	return err
}

// curl is the pipeline of a shell, which verifies nothing.
func (b *benchmark) curl(r *row) (cost, error) {
	decoder := map[pack.Compression]string{pack.Gzip: "gzip -dc |", pack.Zstd: "zstd -dc |",
		pack.None: ""}[r.compression]
	script := fmt.Sprintf("set -o pipefail; curl -sf %s | %s tar -xO | dd of=%s bs=1M iflag=fullblock "+
		"conv=fsync,notrunc status=none", r.url, decoder, b.scratch())
	cmd := exec.Command("bash", "-c", script)
	cmd.Stderr = os.Stderr
	c, err := measure(0, cmd.Run)
	if err == nil {
		c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // and that of all it waited for
	}
	return c, err
}

// uncompressed is go-containerregistry's way to the same file.
func (b *benchmark) uncompressed(r *row) (cost, error) {
	return measure(0, func() error {
		ref, err := name.ParseReference(b.host + "/os:" + r.ref)
		if err != nil {
			return err
		}
		img, err := remote.Image(ref, remote.WithContext(context.Background()))
		if err != nil {
			return err
		}
		layers, err := img.Layers()
		if err != nil {
			return err
		}
		in, err := layers[0].Uncompressed()
		if err != nil {
			return err
		}
		defer in.Close()
		f, err := os.OpenFile(b.scratch(), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		archive := tar.NewReader(in)
		for {
			h, err := archive.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{archive},
					make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
		return f.Sync()
	})
}
