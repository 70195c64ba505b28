package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type benchmark struct {
	tmp, host string
	pid       int // of the registry
	size      int64
	rounds    int
	short     []string // what falls short
	bounded   int
}

func bench(args []string) error {
	flags := flag.NewFlagSet("pull", flag.ContinueOnError)
	mib := flags.Int64("size", 200, "payload in MiB")
	large := flags.Int64("large", 2048, "payload of the second measurement of memory in MiB; 0 leaves it out")
	rounds := flags.Int("rounds", 7, "interleaved rounds, of which the median counts")
	only := flags.String("only", "", "measure only rows whose name contains this")
	dir := flags.String("dir", "", "where to work (default: the system's directory for temporary files)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(*dir, "pull-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b := &benchmark{tmp: tmp, size: *mib << 20, rounds: *rounds}
	begin := time.Now()
	all := slices.DeleteFunc(rows(), func(r *row) bool { return !strings.Contains(r.name(), *only) })
	layout := filepath.Join(tmp, "layout")
	if err := packAll(layout, tmp, all, b.size); err != nil {
		return err
	}
	var stop func()
	if b.host, stop, b.pid, err = startRegistry(layout); err != nil {
		return err
	}
	defer stop()
	// Files that are written already, as disks are: else each flush would wait for a file system to find room for the
	// file.
	for file, size := range map[string]int64{b.scratch(): b.size, b.disk(): b.efi() + 64<<20} {
		if err := write(file, size); err != nil {
			return err
		}
	}
	if err := os.Truncate(b.disk(), 8<<30); err != nil {
		return err
	}
	for _, r := range all {
		r.url = fmt.Sprintf("http://%s/v2/os/blobs/sha256:%s", b.host, filepath.Base(r.blob))
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load before: %s", load)
	fmt.Printf("pull: payload %d MiB, %d rounds, medians in milliseconds; limit = max(slowest stage, CPU time of all "+
		"stages / 2),\n"+
		"without the stage \"back\" for \"pull\", where the read-back waits until all is written; with it for "+
		"\"pull+back\", as Pawl does it\n\n", *mib, b.rounds)
	var rss, written, elsewhere float64
	results, err := b.run(all)
	if err != nil {
		return err
	}
	for _, r := range all {
		b.report(r, results[r])
		rss = max(rss, largest(results[r].rss))
		written, elsewhere = max(written, largest(results[r].written)), max(elsewhere, largest(results[r].elsewhere))
	}
	b.bound(fmt.Sprintf("memory, %d MiB: MiB resident at most", *mib), rss/(1<<20), 40)
	b.bound("bytes written, of the payload", written/float64(b.size), 1.02)
	b.bound("KiB written to anything but the disk, requests included", elsewhere/(1<<10), 64)
	if *large > 0 {
		p, err := b.largeRun(*large << 20)
		if err != nil {
			return err
		}
		b.bound(fmt.Sprintf("memory, %d MiB: MiB resident at most", *large), float64(p.RSS)/(1<<20), 40)
	}
	verdict := "ok"
	if len(b.short) > 0 {
		verdict = "falls short: " + strings.Join(b.short, "; ")
	}
	fmt.Printf("bench pull: bounds=%d short=%d seconds=%.0f %s\n", b.bounded, len(b.short), time.Since(begin).Seconds(),
		verdict)
	return nil
}

// result is what the rounds of one row gave, in milliseconds where not said otherwise.
type result struct {
	stages          map[string][]cost
	pull, back      []float64
	curl, ggcr      []float64
	pullCPU         []float64
	curlCPU         []float64
	rss             []float64 // bytes
	written         []float64 // bytes to the disk
	elsewhere       []float64 // bytes to anything else
	limit, withBack []float64
}

var stageNames = []string{"http", "hash", "decode", "write", "back"}

func (b *benchmark) run(all []*row) (map[*row]*result, error) {
	results := map[*row]*result{}
	for round := range b.rounds {
		for _, r := range all {
			if round == 0 {
				results[r] = &result{stages: map[string][]cost{}}
			}
			if err := b.round(r, results[r]); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

func (b *benchmark) round(r *row, to *result) error {
	stages, err := b.stages(r)
	if err != nil {
		return err
	}
	var slowest, cpu time.Duration
	for _, name := range []string{"twice", "bare"} {
		to.stages[name] = append(to.stages[name], stages[name])
	}
	for _, name := range stageNames {
		c := stages[name]
		to.stages[name] = append(to.stages[name], c)
		slowest, cpu = max(slowest, c.wall), cpu+c.cpu
		if name == "write" {
			to.limit = append(to.limit, ms(max(slowest, cpu/2)))
		}
	}
	to.withBack = append(to.withBack, ms(max(slowest, cpu/2)))
	for _, back := range []string{"after", "beside"} {
		p, err := pullOurs(b.host+"/os:"+r.ref, b.host+"/os:base", b.disk(), back, b.efi())
		if err != nil {
			return fmt.Errorf("%s: %w", r.name(), err)
		}
		to.rss, to.written = append(to.rss, float64(p.RSS)), append(to.written, float64(p.Written))
		to.elsewhere = append(to.elsewhere, float64(p.Elsewhere))
		if back == "after" {
			to.pull, to.pullCPU = append(to.pull, ms(p.Write)), append(to.pullCPU, ms(p.CPU))
		} else {
			to.back = append(to.back, ms(p.Back))
		}
	}
	c, err := b.curl(r)
	if err != nil {
		return fmt.Errorf("%s: curl: %w", r.name(), err)
	}
	to.curl, to.curlCPU = append(to.curl, ms(c.wall)), append(to.curlCPU, ms(c.cpu))
	if c, err = b.uncompressed(r); err != nil {
		return fmt.Errorf("%s: go-containerregistry: %w", r.name(), err)
	}
	to.ggcr = append(to.ggcr, ms(c.wall))
	return nil
}

func (b *benchmark) report(r *row, res *result) {
	fmt.Printf("%s\n", r.name())
	for _, name := range stageNames {
		var wall, cpu []float64
		for _, c := range res.stages[name] {
			wall, cpu = append(wall, ms(c.wall)), append(cpu, ms(c.cpu))
		}
		fmt.Printf("  %-8s alone %8.0f   cpu %6.0f\n", name, median(wall), median(cpu))
	}
	var one, two []float64
	for i, c := range res.stages["twice"] {
		two, one = append(two, ms(c.wall)), append(one, ms(res.stages["hash"][i].wall))
	}
	fmt.Printf("  hash twice at once %3.0f, %.2f of once: 1 with two cores that share nothing\n", median(two),
		median(two)/median(one))
	var bare, bareCPU []float64
	for _, c := range res.stages["bare"] {
		bare, bareCPU = append(bare, ms(c.wall)), append(bareCPU, ms(c.cpu))
	}
	limit, with := median(res.limit), median(res.withBack)
	fmt.Printf("  limit %14.0f   with the read-back %6.0f\n  go-containerregistry Uncompressed() %6.0f\n  curl | "+
		"decoder | tar | dd, unverified %4.0f   cpu %6.0f\n",
		limit, with, median(res.ggcr), median(res.curl), median(res.curlCPU))
	fmt.Printf("  bare: the same stages at once %7.0f   cpu %6.0f   %.2f of the limit\n", median(bare), median(bareCPU),
		median(bare)/limit)
	fmt.Printf("  pull %15.0f   cpu %6.0f\n  pull+back %10.0f\n", median(res.pull), median(res.pullCPU),
		median(res.back))
	b.bound(r.name()+": pull / limit", median(res.pull)/limit, r.bound)
	b.bound(r.name()+": pull+back / limit with it", median(res.back)/with, r.boundBack)
	b.bound(r.name()+": pull / bare", median(res.pull)/median(bare), 1.30)
	b.bound(r.name()+": pull / curl", median(res.pull)/median(res.curl), 1)
	fmt.Println()
}

// bound prints a row and keeps its name if it is above its bound.
func (b *benchmark) bound(name string, is, most float64) {
	b.bounded++
	verdict := "ok"
	if is > most {
		verdict = "falls short"
		b.short = append(b.short, name)
	}
	fmt.Printf("%-60s %8.2f  at most %5.2f  %s\n", name, is, most, verdict)
}

// largeRun pulls one large image, for its memory.
func (b *benchmark) largeRun(size int64) (pulled, error) {
	dir := filepath.Join(b.tmp, "large")
	r := rows()[3:4]
	if err := os.Remove(filepath.Join(b.tmp, r[0].payload)); err != nil && !os.IsNotExist(err) {
		return pulled{}, err
	}
	if err := packAll(dir, b.tmp, r, size); err != nil {
		return pulled{}, err
	}
	host, stop, _, err := startRegistry(dir)
	if err != nil {
		return pulled{}, err
	}
	defer stop()
	return pullOurs(host+"/os:"+r[0].ref, host+"/os:base", b.disk(), "beside", 2*size+1<<29)
}

func (b *benchmark) disk() string { return filepath.Join(b.tmp, "disk") }

// efi is the size of a boot file system for two payloads.
func (b *benchmark) efi() int64 { return 2*b.size + 128<<20 }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func largest(of []float64) float64 { return slices.Max(of) }

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
