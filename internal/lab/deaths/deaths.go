// Package deaths boots machines whose upgrade dies, in every way that is known and on every loader, and looks where
// each of them ends: in which slot, and with what knowledge of why.
//
// Start with Run. A cell is a loader, a way to die and a number of tries. All cells begin with the same disk: version
// 1.0.0 runs, 2.0.0 is armed, and the machine is off. Either something happens to that disk, or 2.0.0 misbehaves, as
// the machine's serial number tells it to. What is believed is what the guest reports when it has settled: version,
// digest, slot, boot, and the attempt as META has it.
//
// The machines are emulated, with a hardware watchdog and Debian's kernel for all machines.
package deaths

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// Loaders are the columns of the matrix, and Tries the other columns.
var (
	Loaders = []string{loaders.SystemdBoot, loaders.GRUBUEFI, loaders.GRUBBIOS}
	Tries   = []int{1, 3}
)

// Cell is one machine that dies.
type Cell struct {
	Loader string
	Way    string // how the loader tries; empty: its usual way
	Tries  int
	Death  Death
}

// String is the cell's name: "grub-bios 3 kernel panic", "systemd-boot counting 1 missing".
func (c Cell) String() string {
	return fmt.Sprintf("%s %d %s", strings.TrimSpace(c.Loader+" "+c.Way), c.Tries, c.Death.Name)
}

// trials are the ways in which a loader tries.
func trials(l string) []string {
	if l == loaders.SystemdBoot {
		return []string{"", string(sdboot.Counting)}
	}
	return []string{""}
}

// Cells is the whole matrix.
func Cells() (all []Cell) {
	for _, d := range deaths {
		for _, l := range Loaders {
			if d.needsVariables && l == loaders.GRUBBIOS {
				continue
			}
			for _, trial := range trials(l) {
				for _, n := range Tries {
					all = append(all, Cell{l, trial, n, d})
				}
			}
		}
	}
	return all
}

// Sample is what `make test` has time for: each death once that no other test boots.
func Sample() (some []Cell) {
	for _, name := range []string{
		"systemd-boot 1 hang after the watchdog runs", "systemd-boot 1 kernel panic", "systemd-boot 1 truncated",
		"systemd-boot 1 check never answers",
		"grub-uefi 1 PID 1 exits", "grub-uefi 3 power cut during confirm", "grub-bios 1 initramfs corrupt",
		"grub-bios 1 corrupt", "grub-bios 1 hang before a watchdog",
	} {
		i := slices.IndexFunc(Cells(), func(c Cell) bool { return c.String() == name })
		some = append(some, Cells()[i])
	}
	return some
}

// Options of a run.
type Options struct {
	Cells    []Cell        // which; nil is all
	Workers  int           // machines at a time; 0 is 1
	Within   time.Duration // for a boot or a command; 0 is three minutes
	Watchdog string        // "i6300esb", also if empty, or "iTCO"
	Seed     uint64        // of the moments at which power fails; 0 takes one from the clock
	Log      io.Writer     // a line for each cell; may be nil
	Console  io.Writer     // what the machines print; may be nil
}

// Result counts the cells.
type Result struct {
	Cells, OK int
	Wrong     []string // what was not as expected, a text for each cell
	Took      time.Duration
}

// String is the last line of a run.
func (r Result) String() string {
	return fmt.Sprintf("deaths: cells=%d ok=%d wrong=%d seconds=%.0f", r.Cells, r.OK, len(r.Wrong), r.Took.Seconds())
}

// Run boots the cells in dir, which has room for a few sparse disks. Its error is that of a run that could not be made;
// what a cell did wrong is in the result.
func Run(ctx context.Context, dir string, o Options) (Result, error) {
	if o.Cells == nil {
		o.Cells = Cells()
	}
	if o.Within == 0 {
		o.Within = 6 * time.Minute
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	o.Watchdog = cmp.Or(o.Watchdog, "i6300esb")
	if o.Log == nil {
		o.Log = io.Discard
	}
	fmt.Fprintf(o.Log, "seed %d\n", o.Seed)
	begun := time.Now()
	w, err := build(ctx, dir, o)
	if err != nil {
		return Result{}, err
	}
	defer w.close() // only a registry's listener
	if err := parallel(ctx, o.Workers, loadersOf(o.Cells), w.prepare); err != nil {
		return Result{}, err
	}
	var mu sync.Mutex
	var r Result
	random := rand.New(rand.NewPCG(o.Seed, 0))
	moments := make([]time.Duration, len(o.Cells))
	for i := range moments {
		moments[i] = time.Duration(random.IntN(700)) * time.Millisecond
	}
	indexes := make([]int, len(o.Cells))
	for i := range indexes {
		indexes[i] = i
	}
	err = parallel(ctx, o.Workers, indexes, func(ctx context.Context, i int) error {
		c, begun := o.Cells[i], time.Now()
		seen, err := w.die(ctx, c, moments[i])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = c.judge(seen, w.of(c.Loader).Digests)
		}
		mu.Lock()
		defer mu.Unlock()
		r.Cells++
		verdict := "ok   "
		if err != nil {
			verdict = "WRONG"
			r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %v", c, err))
		} else {
			r.OK++
		}
		fmt.Fprintf(o.Log, "%s %4.0f s  %-50s %s\n", verdict, time.Since(begun).Seconds(), c, seen)
		return nil
	})
	r.Took = time.Since(begun)
	return r, err
}

// parallel does each of the things, so many at a time, and ends at the first error.
func parallel[T any](ctx context.Context, workers int, things []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan T, len(things))
	for _, t := range things {
		work <- t
	}
	close(work)
	errs := make([]error, max(workers, 1))
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() {
			for t := range work {
				if errs[i] = do(ctx, t); errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func loadersOf(cells []Cell) (loaders []string) {
	for _, l := range Loaders {
		if slices.ContainsFunc(cells, func(c Cell) bool { return c.Loader == l }) {
			loaders = append(loaders, l)
		}
	}
	return loaders
}

// Only is the cells whose names contain all words of the text, or of one of its parts between commas.
func Only(text string) (some []Cell) {
	for _, c := range Cells() {
		for part := range strings.SplitSeq(text, ",") {
			if !slices.ContainsFunc(strings.Fields(part), func(word string) bool {
				return !strings.Contains(c.String(),
					word)
			}) {
				some = append(some, c)
				break
			}
		}
	}
	return some
}
