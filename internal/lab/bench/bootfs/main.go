// Command bootfs measures what it costs to write 200 MiB into the boot file system, all flushes included, against the
// least that it could cost, a plain pwrite of 1 MiB at a time and one fsync, and against what others take for the same
// bytes.
//
//	go run ./internal/lab/bench/bootfs [-rounds N] [-dir DIRECTORY]
//
// Every round does each row once, each round in another order and each row after a sync. What else the machine does can
// only add to a time, so the fastest of a row's rounds is what it costs, and the bounds are for its ratio to the
// fastest plain write. The median beside it is of the ratios within a round; on a quiet machine the two agree. The row
// "the same again" is the plain write once more, and counts as one: how far its own ratio is from 1 is how far the
// others can be trusted. A row with a bound ends in "ok" or "falls short"; the last line is for scripts.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	payload = 200 << 20
	volume  = 1 << 30
	most    = 1.12 // of the plain write's time
)

func main() {
	var err error
	if path := os.Getenv(childVariable); path != "" {
		err = writeOnce(path)
	} else {
		err = bench()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bootfs bench:", err)
		os.Exit(1)
	}
}

// row is one way to write the payload; the first two are plain. It prepares what it needs, and then returns how long
// the writing took.
type row struct {
	name  string
	bound float64 // of the ratio; 0 has none
	run   func(path string) (time.Duration, error)
}

func bench() error {
	rounds := flag.Int("rounds", 15, "rounds, of which the fastest counts")
	in := flag.String("dir", "", "where to work (default: the system's directory for temporary files)")
	flag.Parse()
	dir, err := os.MkdirTemp(*in, "bootfs-bench-")
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
	times, err := measure(all, dir, *rounds)
	if err != nil {
		return err
	}
	t := table{}
	fmt.Printf("%-44s %8s %8s %8s %8s\n", fmt.Sprintf("%d MiB into %d MiB, %d rounds", payload>>20, volume>>20,
		*rounds), "seconds", "fastest", "median", "ratio")
	least := min(slices.Min(times[0]), slices.Min(times[1]))
	for i, r := range all {
		var ratios []float64
		for n := range times[i] {
			ratios = append(ratios, times[i][n]*2/(times[0][n]+times[1][n]))
		}
		beside := fmt.Sprintf("%8.3f %8.3f %8.2f", median(times[i]), slices.Min(times[i]), median(ratios))
		t.row(r.name, beside, slices.Min(times[i])/least, r.bound)
	}
	written, peak, err := memory(dir)
	if err != nil {
		return err
	}
	t.row("bytes written, of the payload", "", written, 1.01)
	t.row("memory, MiB resident at most", "", peak, 24)
	fmt.Printf("bench bootfs: bounds=%d short=%d seconds=%.0f %s\n", t.bounds, len(t.short),
		time.Since(begin).Seconds(), t.verdict())
	return nil
}

// measure returns the seconds that each row took in each round.
func measure(all []row, dir string, rounds int) ([][]float64, error) {
	times := make([][]float64, len(all))
	for round := range rounds {
		for n := range all {
			if round%2 == 1 {
				n = len(all) - n
			}
			i := (round + n) % len(all)
			path := filepath.Join(dir, "file")
			unix.Sync()
			took, err := all[i].run(path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, err)
			}
			times[i] = append(times[i], took.Seconds())
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	return times, nil
}

// table counts the bounds of the rows that it prints.
type table struct {
	bounds int
	short  []string
}

func (t *table) row(name, beside string, is, most float64) {
	fmt.Printf("%-44s %26s %8.3f", name, beside, is)
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
	return "falls short: " + strings.Join(t.short, "; ")
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
