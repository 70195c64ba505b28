package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// pulled is what one pull of ours took.
type pulled struct {
	Write, Back time.Duration // until all is written and flushed; and until it is read back
	CPU         time.Duration // until all is written
	Written     int64         // bytes to the disk until all is written
	// bytes that were written to anything else until the end: requests, and files if there were any
	Elsewhere int64
	RSS       int64 // bytes, the most
}

// counting counts what is written, and keeps the read-back waiting until it is let go.
type counting struct {
	*disk.Raw
	written int64
	back    chan struct{}
}

func (c *counting) Direct() (io.ReaderAt, error) {
	r, err := c.Raw.Direct()
	return waiting{r, c.back}, err
}

type waiting struct {
	io.ReaderAt
	until <-chan struct{}
}

func (w waiting) ReadAt(p []byte, off int64) (int, error) {
	<-w.until
	return w.ReaderAt.ReadAt(p, off)
}

func (c *counting) WriteAt(p []byte, off int64) (int, error) {
	c.written += int64(len(p))
	return c.Raw.WriteAt(p, off)
}

var errEnough = errors.New("measured")

// pullOnce is one process: it installs the small image, untimed, and then does what `installer upgrade` does with ref,
// from the first request on until the target has been read back: meanwhile, or once all is written if PULL_BENCH_BACK
// is "after".
func pullOnce(ref, base string) error {
	ctx := context.Background()
	raw, err := disk.Open(os.Getenv("PULL_BENCH_DISK"))
	if err != nil {
		return err
	}
	defer raw.Close()
	dev := &counting{Raw: raw, back: make(chan struct{})}
	close(dev.back)
	o := image.Options{Arch: "amd64"}
	img, err := image.Open(ctx, base, o)
	if err != nil {
		return err
	}
	vars := efivar.NewMemory()
	mib, err := strconv.ParseInt(os.Getenv("PULL_BENCH_EFI"), 10, 64)
	if err != nil {
		return err
	}
	specs := partition.Default(partition.Defaults{EFI: mib << 20})
	if err := upgrade.Install(ctx, dev, img, upgrade.InstallOptions{Loader: sdboot.Backend{}, Vars: vars,
		Partitions: specs, Force: true}); err != nil {
		return err
	}
	if _, err := predict.Boot(dev, vars, predict.Options{}); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	dev.written = 0
	after := os.Getenv("PULL_BENCH_BACK") == "after"
	if after {
		dev.back = make(chan struct{})
	}
	defer profile()()

	var p pulled
	sent, err := wrote()
	if err != nil {
		return err
	}
	begin, cpu := time.Now(), cpuOf(0)
	if img, err = image.Open(ctx, ref, o); err != nil {
		return err
	}
	m, err := upgrade.OpenDevice(dev, upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string),
		BootID: "bench", Version: "base"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	_, err = m.Prepare(ctx, img, upgrade.Options{Force: true, Progress: func(e progress.Event) {
		switch {
		case e.Step == progress.StepWrite && e.Done && e.Err == nil:
			p.Write, p.CPU, p.Written = time.Since(begin), cpuOf(0)-cpu, dev.written
			if after {
				close(dev.back)
			}
		case e.Step == progress.StepVerify && e.Done && e.Err == nil:
			p.Back = time.Since(begin)
			cancel(errEnough) // the payload is no program that could be booted
		}
	}})
	if p.Back == 0 {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	if p.RSS, err = resident(); err != nil {
		return err
	}
	if p.Elsewhere, err = wrote(); err != nil {
		return err
	}
	p.Elsewhere -= sent + dev.written
	return json.NewEncoder(os.Stdout).Encode(p)
}

// resident is the most memory that this process had, in bytes. What the kernel tells a parent would count the parent's
// own pages, from before the program was loaded.
func resident() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	return kib << 10, err
}

// profile writes a CPU profile of the pull to PULL_BENCH_PROFILE, if that is set, until the function that it returns is
// called.
func profile() (stop func()) {
	f, err := os.Create(os.Getenv("PULL_BENCH_PROFILE"))
	if err != nil || pprof.StartCPUProfile(f) != nil {
		return func() {}
	}
	return pprof.StopCPUProfile
}

// wrote is how many bytes this process has handed to the kernel, for files, sockets and pipes alike.
func wrote() (int64, error) {
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(io), "wchar: ")
	var n int64
	_, err = fmt.Sscanf(rest, "%d", &n)
	return n, err
}

// pullOurs runs pullOnce in a process of its own, with a boot file system of efi bytes. back is "beside" or "after".
func pullOurs(ref, base, diskFile, back string, efi int64) (pulled, error) {
	self, err := os.Executable()
	if err != nil {
		return pulled{}, err
	}
	cmd := exec.Command(self, ref, base)
	cmd.Env = append(os.Environ(), "PULL_BENCH_ROLE=pull", "PULL_BENCH_DISK="+diskFile, "PULL_BENCH_BACK="+back,
		fmt.Sprintf("PULL_BENCH_EFI=%d", efi>>20))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return pulled{}, err
	}
	var p pulled
	return p, json.Unmarshal(out, &p)
}

// startRegistry starts the registry in a process of its own.
func startRegistry(dir string) (host string, stop func(), pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, 0, err
	}
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), "PULL_BENCH_ROLE=registry")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, 0, err
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	return strings.TrimSpace(string(line[:n])), func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, cmd.Process.Pid, err
}

func baseUKI() (pack.Asset, error) {
	at := func(s string) *io.SectionReader { return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s))) }
	return pack.UKI(pack.UKIParts{
		Stub:  io.NewSectionReader(bytes.NewReader(loadertest.Stub()), 0, int64(len(loadertest.Stub()))),
		Linux: at("kernel"), Cmdline: "panic=1", OSRelease: "ID=bench\nVERSION_ID=base\n", Uname: "6.1.0",
	})
}

// firstLayer is the file of a tag's first layer.
func firstLayer(dir, tag string) (string, error) {
	d, err := find(dir, tag)
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(blobFile(dir, d.Digest.Hex))
	if err != nil {
		return "", err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", err
	}
	return filepath.Clean(blobFile(dir, m.Layers[0].Digest.Hex)), nil
}
