// Command diskimage measures what it costs to build a disk image, and to write a disk in the formats of hypervisors,
// all flushes included, against what others take for the same.
//
//	go run ./internal/lab/bench/diskimage [-rounds N] [-dir DIRECTORY]
//
// Every round does each row once, in another order. What else the machine does can only add to a time, so the fastest
// of a row's rounds is what it costs, and each bound is for the ratio to the fastest of the row that it is held
// against. A row with a bound ends in "ok" or "falls short"; the last line is for scripts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

const (
	mib     = 1 << 20
	size    = 2 << 30   // of a disk
	payload = 20 * mib  // of an installer image
	content = 128 * mib // of the disk that is written in formats
	large   = 16 << 30  // of the disk that memory is measured with
)

// childVariable makes this program one that writes the disk that it names in each format, and tells what memory it
// took.
const childVariable = "DISKIMAGE_BENCH_WRITE"

func main() {
	var err error
	if path := os.Getenv(childVariable); path != "" {
		err = writeAll(path)
	} else {
		err = bench()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "diskimage bench:", err)
		os.Exit(1)
	}
}

// row is one way to make a file. It is held against another row, if it has a bound.
type row struct {
	name    string
	against string
	bound   float64
	run     func(path string) error
}

func bench() error {
	rounds := flag.Int("rounds", 7, "rounds, of which the fastest counts")
	in := flag.String("dir", "", "where to work (default: the system's directory for temporary files)")
	flag.Parse()
	dir, err := os.MkdirTemp(*in, "diskimage-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	begin := time.Now()
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load before: %s", load)
	all, err := rows(dir)
	if err != nil {
		return err
	}
	fastest := map[string]float64{}
	allocated := 0.0
	for round := range *rounds {
		for n := range all {
			r := all[(round+n)%len(all)]
			path := filepath.Join(dir, "file")
			unix.Sync()
			start := time.Now()
			if err := r.run(path); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			took := time.Since(start).Seconds()
			if was, ok := fastest[r.name]; !ok || took < was {
				fastest[r.name] = took
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				return err
			}
			if r.name == build {
				allocated = float64(st.Blocks*512) / mib
			}
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	t := table{}
	fmt.Printf("%-52s %8s %8s\n", fmt.Sprintf("disk images, %d rounds", *rounds), "seconds", "ratio")
	for _, r := range all {
		t.row(r.name, fastest[r.name], fastest[r.name]/fastest[or(r.against, r.name)], r.bound)
	}
	peak, err := memory(dir)
	if err != nil {
		return err
	}
	t.row("MiB that the disk image of 2 GiB takes on its disk", 0, allocated, payload/mib+8)
	t.row("MiB of memory at most, a disk of 16 GiB in each format", 0, peak, 64)
	fmt.Printf("bench diskimage: bounds=%d short=%d seconds=%.0f %s\n", t.bounds, len(t.short),
		time.Since(begin).Seconds(), t.verdict())
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

const (
	plain = "write and sync 20 MiB"
	build = "build a raw image of 2 GiB with 20 MiB"
)

func rows(dir string) ([]row, error) {
	raw := filepath.Join(dir, "disk.raw")
	if err := fill(raw, size, content); err != nil {
		return nil, err
	}
	images, err := virtual.NewImages(context.Background(), filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	img, err := images.Image("1.0.0", virtual.Spec{Size: payload - mib})
	if err != nil {
		return nil, err
	}
	data := make([]byte, payload)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	all := []row{
		{plain, "", 0, func(path string) error {
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			_, err = f.Write(data)
			return errors.Join(err, f.Sync(), f.Close())
		}},
		{build, plain, 2, func(path string) error { return install(path, img) }},
	}
	for _, c := range []struct {
		kind    disk.FileType
		foreign string
	}{
		{disk.FileType{Format: disk.QCOW2}, "qemu-img convert -Oqcow2 -f raw " + raw},
		{disk.FileType{Format: disk.VMDK}, "qemu-img convert -Ovmdk -f raw -o subformat=streamOptimized " + raw},
		{disk.FileType{Format: disk.RawDisk, Packing: "zst"}, "zstd -T2 -q " + raw + " -o"},
	} {
		name := strings.Join(strings.Fields(c.foreign)[:3], " ")
		theirs, ours := c.kind.String()+", "+name, c.kind.String()
		all = append(all, row{theirs, "", 0, func(path string) error {
			out, err := exec.Command("sh", "-c", c.foreign+" "+path+" && sync "+path).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}}, row{ours, theirs, 1.1, func(path string) error { return convert(c.kind, raw, path) }})
	}
	return all, nil
}

// table counts the bounds of the rows that it prints.
type table struct {
	bounds int
	short  []string
}

func (t *table) row(name string, seconds, is, most float64) {
	fmt.Printf("%-52s %8.3f %8.2f", name, seconds, is)
	if most != 0 {
		t.bounds++
		verdict := "ok"
		if is > most {
			verdict = "falls short"
			t.short = append(t.short, name)
		}
		fmt.Printf("  at most %5.2f  %s", most, verdict)
	}
	fmt.Println()
}

func (t *table) verdict() string {
	if len(t.short) == 0 {
		return "ok"
	}
	slices.Sort(t.short)
	return "falls short: " + strings.Join(t.short, "; ")
}

// fill makes a sparse disk of which so many bytes are content: half of it random, half of it words.
func fill(path string, size, content int64) error {
	d, err := disk.Create(path, size)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	words := strings.Fields("slot loader armed trial confirm default active target version digest")
	piece := make([]byte, mib)
	for i := range content / mib {
		for n := range piece {
			piece[n] = byte(r.Uint32())
		}
		if i%2 == 1 {
			for n := 0; n < len(piece); {
				n += copy(piece[n:], words[r.IntN(len(words))])
				n += copy(piece[n:], fmt.Sprintf(" %d ", r.IntN(1000)))
			}
		}
		if _, err := d.WriteAt(piece, i*(size/content)*mib); err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return errors.Join(d.Sync(), d.Close())
}
