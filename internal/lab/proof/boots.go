package proof

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// BootOptions chooses the disks that a real firmware boots.
type BootOptions struct {
	Seed    int64          // 0 takes one from the clock
	Cases   map[string]int // of each loader; of them a quarter boots a trial, a sixth nothing, the others the default
	InARow  int            // every so manieth disk is booted three times in a row; 0: none
	Only    string         // operations whose names begin so; empty is all
	Workers int            // machines at a time; 0 is 1
	Within  time.Duration
	Log     io.Writer
}

// BootResult is how often the model and the real thing agreed.
type BootResult struct {
	Cases, Agreed, Default, Trial, Nothing int
	Of                                     map[string]int // cases
	Boots, Foreseen                        int            // in all, and those that the product's doctor predicted
	Differences                            []string
}

// String is the last line of `make boots`.
func (r BootResult) String() string {
	return fmt.Sprintf("boots: cases=%d agreed=%d boots=%d predicted by doctor=%d disagreed=%d", r.Cases, r.Agreed,
		r.Boots, r.Foreseen, len(r.Differences))
}

// bootCase is one disk that a power cut left, and what the model says of it.
type bootCase struct {
	name   string
	times  int // that it is booted, one after the other
	kit    *Kit
	disk   *disktest.Disk
	vars   *efivar.Memory // before the boot
	bad    []int64        // sectors that cannot be read
	secure bool           // the firmware knows Secure Boot; vars say whether it is on
	model  predict.Outcome
}

// Boots takes crash disks of the proof, spread over operations and steps, with their variables; boots each in QEMU
// under real firmware and the real loader; and compares what the guest reports with what the model says, and with what
// the product's doctor predicts, of some disks for three boots in a row.
func Boots(ctx context.Context, dir string, o BootOptions) (BootResult, error) {
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	fmt.Fprintf(o.Log, "seed %d\n", o.Seed)
	var cases []bootCase
	for _, l := range loaders.Names() {
		if o.Cases[l] == 0 {
			continue
		}
		kit, err := realKit(ctx, filepath.Join(dir, "images-"+l), l)
		if err != nil {
			return BootResult{}, err
		}
		sample, err := sampleBoots(kit, o.Cases[l], o.Seed, o.Only)
		if err != nil {
			return BootResult{}, fmt.Errorf("%s: %w", l, err)
		}
		cases = append(cases, sample...)
	}
	result := BootResult{Of: map[string]int{}}
	var mu sync.Mutex
	work := make(chan bootCase, len(cases))
	for i, c := range cases {
		if c.times = 1; o.InARow > 0 && i%o.InARow == o.InARow-1 {
			c.times = predicted
		}
		work <- c
	}
	close(work)
	p := &proof{}
	err := p.parallel(max(o.Workers, 1), func(worker int) error {
		for c := range work {
			foreseen, err := c.foresee(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			begin := time.Now()
			got, err := c.boot(ctx, filepath.Join(dir, fmt.Sprintf("machine-%d", worker)), o.Within)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			mu.Lock()
			result.take(c, c.says(), got[0])
			result.takeDoctor(c, foreseen, got)
			fmt.Fprintf(o.Log, "%5.1f s  %-36s %s\n", time.Since(begin).Seconds(), strings.Join(got, ", then "), c.name)
			mu.Unlock()
		}
		return nil
	})
	return result, err
}

func (r *BootResult) take(c bootCase, model, guest string) {
	r.Cases++
	r.Of[c.kit.Loader]++
	switch {
	case c.model.Slot == bootloader.None:
		r.Nothing++
	case c.model.Trial:
		r.Trial++
	default:
		r.Default++
	}
	if model == guest {
		r.Agreed++
		return
	}
	r.Differences = append(r.Differences, fmt.Sprintf("%s: the model says %q, the guest %q", c.name, model, guest))
}

// sampleBoots picks disks: at random, each operation, step and outcome in turn.
func sampleBoots(kit *Kit, n int, seed int64, only string) ([]bootCase, error) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 3))
	bases := map[bootloader.Slot]*machine{}
	for _, s := range bootloader.Slots() {
		var err error
		if bases[s], err = base(kit, s); err != nil {
			return nil, err
		}
	}
	groups := [3]map[string][]bootCase{{}, {}, {}} // default, trial, nothing; by operation and step
	add := func(r *recorded, mutant bool) error {
		for _, block := range []int{512, 4096} {
			o := disktest.Options{Seed: rnd.Int64(), Block: block, Exhaustive: 3, Destroyed: 24, Samples: 3}
			if mutant {
				o.Exhaustive, o.Destroyed, o.Samples = 5, 1024, 24
			}
			if !mutant {
				o.Torn = r.overwrites
			}
			err := r.trace.Crashes(o, func(c *disktest.Crash) error {
				if strings.Contains(c.String(), "torn(") && rnd.IntN(20) > 0 {
					return nil
				}
				if !mutant && rnd.IntN(4) > 0 && c.Step != "arm" && c.Step != "disarm" && c.Step != "confirm" {
					return nil
				}
				return take(r, c, mutant, &groups)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	p := &proof{Options: Options{Only: only}}
	for _, t := range p.tasks(world{kit, bases}) {
		if rnd.IntN(2) > 0 {
			continue
		}
		m := blank(kit)
		if t.start.make != nil {
			m = bases[t.side].clone()
			if err := t.start.make(m, t.side.Other()); err != nil {
				return nil, err
			}
		}
		r, err := record(t.op, t.start, t.side, m)
		if err != nil {
			return nil, err
		}
		if err := add(r, false); err != nil {
			return nil, err
		}
	}
	for _, h := range kit.handMutants() {
		if h.real || h.name != "isolation off" {
			continue
		}
		for _, side := range bootloader.Slots() {
			m := bases[side].clone()
			if err := h.start.make(m, side.Other()); err != nil {
				return nil, err
			}
			r, err := record(operation{name: "mutant, " + h.name, end: arms, commit: "arm", what: imageOf(next),
				do: h.run}, h.start, side, m)
			if err != nil {
				return nil, err
			}
			if err := add(r, true); err != nil {
				return nil, err
			}
		}
	}
	var cases []bootCase
	cases = append(cases, pickBoots(groups[1], n/4, rnd)...)
	cases = append(cases, pickBoots(groups[2], n/6, rnd)...)
	return append(cases, pickBoots(groups[0], n-len(cases), rnd)...), nil // also for what there was too little of
}

// take keeps a crash disk with what the model says of it. Only what a mutant broke boots nothing, but for an install.
func take(r *recorded, c *disktest.Crash, mutant bool, groups *[3]map[string][]bootCase) error {
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	m.vars.Reset()
	b := bootCase{name: fmt.Sprintf("%v: %v", r, c), kit: m.kit, disk: m.disk, vars: m.vars.Clone()}
	sector := make([]byte, 512)
	for _, at := range r.view.sectors {
		if _, err := m.disk.ReadAt(sector, at); err != nil {
			b.bad = append(b.bad, at/512)
		}
	}
	if m.kit.grub() {
		b.disk = m.disk.Clone() // GRUB writes
	}
	if err := m.boot(); err != nil {
		return err
	}
	b.model = m.last
	kind := 0
	switch {
	case m.last.Path == "" && !mutant:
		return nil
	case m.last.Path == "":
		kind = 2
	case m.last.Trial:
		kind = 1
	}
	if kind == 0 && mutant {
		return nil
	}
	key := fmt.Sprint(r.op.name, c.Step, strings.Contains(c.String(), "torn("))
	groups[kind][key] = append(groups[kind][key], b)
	return nil
}

// pickBoots takes from each group in turn.
func pickBoots(groups map[string][]bootCase, n int, rnd *rand.Rand) (picked []bootCase) {
	keys := slices.Sorted(maps.Keys(groups))
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for len(picked) < n && len(groups) > 0 {
		for _, key := range keys {
			list := groups[key]
			if len(list) == 0 {
				delete(groups, key)
				continue
			}
			i := rnd.IntN(len(list))
			picked = append(picked, list[i])
			groups[key] = append(list[:i:i], list[i+1:]...)
			if len(picked) == n {
				break
			}
		}
	}
	return picked
}
