package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/partition"
)

// childVariable makes this program one that writes the payload into the image that it names, and tells what it took.
const childVariable = "BOOTFS_BENCH_WRITE"

// memory has a process of its own write the payload and returns how many bytes it wrote, as part of the payload, and
// the largest resident size that the kernel saw of it, in MiB.
func memory(dir string) (written, peak float64, err error) {
	path := filepath.Join(dir, "file")
	d, err := formatted(path)
	if err != nil {
		return 0, 0, err
	}
	if err := d.Close(); err != nil {
		return 0, 0, err
	}
	defer os.Remove(path)
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childVariable+"="+path)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("the writing process: %w", err)
	}
	var bytes, kib int64
	if _, err := fmt.Sscanf(string(out), "%d %d", &bytes, &kib); err != nil {
		return 0, 0, fmt.Errorf("the writing process said %q: %w", out, err)
	}
	return float64(bytes) / payload, float64(kib) / 1024, nil
}

// writeOnce is the process that memory starts.
func writeOnce(path string) error {
	d, err := partition.Open(path, partition.OpenOptions{})
	if err != nil {
		return err
	}
	dev := &counted{Disk: d}
	if err := errors.Join(stream(dev, random(32<<10)), d.Close()); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, after, found := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); !found || err != nil {
		return fmt.Errorf("no VmHWM in /proc/self/status: %v", err)
	}
	fmt.Println(dev.bytes, kib)
	return nil
}

// counted counts what is written.
type counted struct {
	*partition.Disk
	bytes int64
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.Disk.WriteAt(p, off)
}
