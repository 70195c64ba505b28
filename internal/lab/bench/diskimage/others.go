package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/upgrade"
)

func install(path string, img *image.Image) (err error) {
	out, err := disk.NewOutput(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	raw, err := out.Raw(size, 512)
	if err != nil {
		return err
	}
	loader, err := loaders.Named("systemd-boot")
	if err != nil {
		return err
	}
	if err := upgrade.Install(context.Background(), raw, img, upgrade.InstallOptions{Loader: loader}); err != nil {
		return err
	}
	return out.Commit()
}

func convert(k disk.FileType, from, path string) (err error) {
	raw, err := disk.Options{ReadOnly: true}.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	out, err := disk.NewOutput(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := k.Write(context.Background(), out.File, raw, disk.WriteOptions{}); err != nil {
		return err
	}
	return out.Commit()
}

// memory has a process of its own write a large disk in each format, and returns the largest resident size that the
// kernel saw of it, in MiB.
func memory(dir string) (float64, error) {
	path := filepath.Join(dir, "large.raw")
	if err := fill(path, large, content); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childVariable+"="+path)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, fmt.Errorf("the writing process: %w", err)
	}
	var kib int64
	if _, err := fmt.Sscan(string(out), &kib); err != nil {
		return 0, fmt.Errorf("the writing process said %q: %w", out, err)
	}
	return float64(kib) / 1024, nil
}

// writeAll is the process that memory starts.
func writeAll(path string) (err error) {
	raw, err := disk.Options{ReadOnly: true}.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	for _, name := range []string{"qcow2", "vhd-dynamic", "vhdx", "vmdk", "ova", "gcp", "raw.zst", "raw.gz"} {
		k, err := disk.ParseFileType(name)
		if err != nil {
			return err
		}
		if err := k.Write(context.Background(), struct{ io.Writer }{io.Discard}, raw, disk.WriteOptions{}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, after, found := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	if !found || len(fields) == 0 {
		return errors.New("no VmHWM in /proc/self/status")
	}
	fmt.Println(fields[0])
	return nil
}
