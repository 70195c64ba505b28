package bootfs_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	diskfile "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

const payload = 200 << 20

// counted counts what is written.
type counted struct {
	*file
	bytes int64
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.file.WriteAt(p, off)
}

// plain is the least that any file system can do: 1 MiB at a time, then a flush.
func plain(path string, chunk []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); off < payload; off += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk, off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// formatted makes an image of 1 GiB with the slots' directories.
func formatted(path string) (*counted, error) {
	f, err := createFile(path, 1<<30, 512)
	if err != nil {
		return nil, err
	}
	if err := bootfs.Format(f, bootfs.FormatOptions{Label: "EFI"}); err != nil {
		return nil, err
	}
	v, err := bootfs.Open(f, bootfs.Options{Zones: slotZones})
	if err != nil {
		return nil, err
	}
	for _, dir := range slotZones {
		if err := v.Mkdir(dir); err != nil {
			return nil, err
		}
	}
	return &counted{file: f}, nil
}

// stream opens the volume, and writes the payload in pieces of the given size.
func stream(dev bootfs.Device, chunk []byte) error {
	f, err := bootfs.Open(dev, bootfs.Options{Zones: slotZones})
	if err != nil {
		return err
	}
	w, err := f.Create("EFI/pawl/B/os.efi", payload)
	if err != nil {
		return err
	}
	for n := 0; n < payload; n += len(chunk) {
		if _, err := w.Write(chunk[:min(len(chunk), payload-n)]); err != nil {
			return err
		}
	}
	return w.Close()
}

func diskfs(path string, chunk []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var storage backend.Storage = diskfile.New(f, false)
	v, err := fat32.Read(storage, 1<<30, 0, 512)
	if err != nil {
		return err
	}
	w, err := v.OpenFile("os.efi", os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	for n := 0; n < payload; n += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return f.Sync()
}

// BenchmarkAgainstPlainWrites writes 200 MiB into a FAT32 of 1 GiB, in rounds that take turns with the same bytes written
// plainly and through others. Ratios are medians within this run; the bounds are the project's.
func BenchmarkAgainstPlainWrites(b *testing.B) {
	dir := b.TempDir()
	small, medium, large := content(1, 32<<10), content(1, 1<<20), content(1, 8<<20)
	at := func(name string) string { return filepath.Join(dir, name) }
	var written int64
	ours := func(chunk []byte, bare bool) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			dev, err := formatted(at("bootfs"))
			if err != nil {
				return 0, err
			}
			defer dev.Close()
			var to bootfs.Device = dev
			if bare {
				to = struct{ bootfs.Device }{dev}
			}
			start := time.Now()
			err = stream(to, chunk)
			written = dev.bytes
			return time.Since(start), err
		}
	}
	cases := []struct {
		name string
		run  func() (time.Duration, error)
	}{
		{"pwrite-1MiB-fsync", func() (time.Duration, error) {
			start := time.Now()
			err := plain(at("plain"), medium)
			return time.Since(start), err
		}},
		{"bootfs-1MiB", ours(medium, false)},
		{"bootfs-32KiB", ours(small, false)},
		{"bootfs-no-writeback", ours(medium, true)},
		{"go-diskfs-8MiB", func() (time.Duration, error) {
			f, err := createFile(at("diskfs"), 1<<30, 512)
			if err != nil {
				return 0, err
			}
			defer f.Close()
			if _, err := fat32.Create(diskfile.New(f.File, false), 1<<30, 0, 512, "EFI", false); err != nil {
				return 0, err
			}
			start := time.Now()
			err = diskfs(at("diskfs"), large)
			return time.Since(start), err
		}},
	}
	if _, err := exec.LookPath("mcopy"); err == nil {
		require.NoError(b, os.WriteFile(at("payload"), bytes.Repeat(medium, 200), 0o600))
		cases = append(cases, struct {
			name string
			run  func() (time.Duration, error)
		}{"mtools-mcopy-sync", func() (time.Duration, error) {
			dev, err := formatted(at("mtools"))
			if err != nil {
				return 0, err
			}
			defer dev.Close()
			start := time.Now()
			if out, err := exec.Command("mcopy", "-i", at("mtools"), at("payload"), "::os.efi").CombinedOutput(); err != nil {
				return 0, fmt.Errorf("%w: %s", err, out)
			}
			err = dev.Sync()
			return time.Since(start), err
		}})
	}
	for b.Loop() {
		times := make([][]time.Duration, len(cases))
		for range 9 {
			for i, c := range cases {
				took, err := c.run()
				require.NoError(b, err, c.name)
				times[i] = append(times[i], took)
				for _, name := range []string{"plain", "bootfs", "diskfs", "mtools"} {
					os.Remove(at(name))
				}
			}
		}
		base := median(times[0])
		fmt.Printf("\n%-20s %8s %7s\n", "200 MiB into 1 GiB", "seconds", "ratio")
		ratio := 0.0
		for i, c := range cases {
			r := median(times[i]).Seconds() / base.Seconds()
			fmt.Printf("%-20s %8.3f %7.2f", c.name, median(times[i]).Seconds(), r)
			if c.name == "bootfs-1MiB" {
				ratio = r
			}
			if strings.HasPrefix(c.name, "bootfs") {
				fmt.Printf("  bound 1.12 %s", verdict(r <= 1.12))
			}
			fmt.Println()
		}
		amplification := float64(written) / payload
		fmt.Printf("%-20s %8.4f times the payload  bound 1.01 %s\n", "bytes written", amplification, verdict(amplification <= 1.01))
		peak := peakMemory(b, dir)
		fmt.Printf("%-20s %8.1f MiB resident  bound 24 %s\n", "memory", peak, verdict(peak < 24))
		fmt.Printf("bootfs: ratio=%.3f written=%.4f memory=%.1fMiB rounds=%d\n", ratio, amplification, peak, len(times[0]))
		b.ReportMetric(ratio, "x-plain")
	}
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "falls short"
}

func median(t []time.Duration) time.Duration {
	s := slices.Clone(t)
	slices.Sort(s)
	return s[len(s)/2]
}

const childVariable = "BOOTFS_WRITE_TO"

// peakMemory is the largest resident size, in MiB, of a process that does nothing but write the payload.
func peakMemory(b *testing.B, dir string) float64 {
	path := filepath.Join(dir, "child")
	dev, err := formatted(path)
	require.NoError(b, err)
	require.NoError(b, dev.Close())
	cmd := exec.Command(os.Args[0], "-test.run", "^TestWritingProcess$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s", out)
	for _, line := range strings.Split(string(out), "\n") {
		if kib, ok := strings.CutPrefix(strings.TrimSpace(line), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			require.NoError(b, err)
			return float64(n) / 1024
		}
	}
	b.Fatalf("no VmHWM in %s", out)
	return 0
}

// TestWritingProcess is the process that peakMemory starts; by itself it does nothing.
func TestWritingProcess(t *testing.T) {
	path := os.Getenv(childVariable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, stream(&file{f, 1 << 30, 512}, content(1, 32<<10)))
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	fmt.Println(string(status))
}

func TestNoFileIsHeldInMemoryAndLittleElseIsWritten(t *testing.T) {
	f, err := createFile(filepath.Join(t.TempDir(), "image"), 1<<30, 512)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, bootfs.Format(f, bootfs.FormatOptions{}))
	dev := &counted{file: f}
	v, err := bootfs.Open(dev, bootfs.Options{})
	require.NoError(t, err)
	const size = 64 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w, err := v.Create("file", size)
	require.NoError(t, err)
	_, err = io.Copy(w, io.LimitReader(zeros{}, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "bytes allocated for 64 MiB")
	require.Less(t, dev.bytes, int64(size+size/100))
}
