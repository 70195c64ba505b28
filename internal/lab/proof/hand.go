package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// hand is an upgrade in the proof's own hand: the same parts as package upgrade puts together, in an order that can be
// changed. Unchanged, it must pass; each change must be caught.
type hand struct {
	m      *machine
	fs     *bootfs.FS
	loader bootloader.Bootloader
	meta   *meta.Store
	to     bootloader.Slot
	files  []handFile
	man    bootloader.Manifest
	a      attempt.Attempt
	copies *copies // of GRUB's default; nil until they are needed
}

// handFile is one file of the new slot.
type handFile struct {
	name string
	data []byte
}

// handStep is one step of it.
type handStep struct {
	name string
	do   func(*hand) error
}

var handSteps = []handStep{
	{"disarm", func(h *hand) error { return h.loader.Disarm() }},
	{"withdraw", func(h *hand) error { return h.loader.Withdraw(h.to) }},
	{"clear", func(h *hand) error { return h.fs.Clear(h.to.Dir()) }},
	{"write", (*hand).write},
	{"image", (*hand).image},
	{"verify", (*hand).verify},
	{"complete", (*hand).complete},
	{"prepare", func(h *hand) error { return h.loader.Prepare(h.to, h.man, 1) }},
	{"record", func(h *hand) error { return h.record(attempt.Armed) }},
	{"arm", func(h *hand) error { return h.loader.Arm(h.to, 1) }},
}

func (h *hand) write() error {
	for _, f := range h.files {
		if err := h.fs.WriteFile(h.to.File(f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

func (h *hand) verify() error {
	for _, f := range h.files {
		if data, err := h.fs.ReadFile(h.to.File(f.name)); err != nil || !bytes.Equal(data, f.data) {
			return errors.Join(err, errNotKept)
		}
	}
	return nil
}

var errNotKept = errors.New("the device does not keep what is written to it")

func (h *hand) complete() error {
	data, err := bootloader.EncodeManifest(h.man)
	if err != nil {
		return err
	}
	return h.fs.WriteFile(h.to.File(bootloader.ManifestFile), data)
}

func (h *hand) record(state attempt.State) error {
	h.a.State = state
	data, err := json.Marshal(h.a)
	if err != nil {
		return err
	}
	return h.meta.Set(meta.TagAttempt, data)
}

// steps by name, in an order.
func order(names ...string) (steps []handStep) {
	for _, n := range names {
		for _, s := range handSteps {
			if s.name == n {
				steps = append(steps, s)
			}
		}
	}
	return steps
}

// clearByFile is "clear" as it is without zones: file by file, the manifest first.
func clearByFile(h *hand) error {
	for _, f := range append([]handFile{{name: bootloader.ManifestFile}}, h.files...) {
		if err := h.fs.Remove(h.to.File(f.name)); err != nil {
			return err
		}
	}
	return nil
}

// byHand judges the orders that were changed by hand.
func (p *proof) byHand(w world) error {
	const kind = "order changed by hand"
	for _, h := range w.kit.handMutants() {
		if h.side == bootloader.None {
			h.side = bootloader.A
		}
		m := w.bases[h.side].clone()
		if err := h.start.make(m, h.side.Other()); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		op := operation{name: "upgrade by hand: " + h.name, end: arms, commit: "arm", what: imageOf(next), do: h.run}
		if h.lies && h.real || h.confirms {
			op.end, op.commit, op.what = stays, "", nil
		}
		r, err := record(op, h.start, h.side, m)
		if h.refused != nil && errors.Is(err, h.refused) {
			p.tally(kind, func(t *tally) { t.Made++; t.Caught++ })
			p.say("refused by hand: %-11s %-50s %.200v", w.kit.Name(), h.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
		// What a liar keeps is neither old nor new, in the target; nobody may boot it.
		r.liar = h.lies
		err = p.breaks(r, h)
		switch {
		case h.real && err != nil:
			p.brick(fmt.Errorf("%s: %s: %w", w.kit.Name(), op.name, err))
		case !h.real && err == nil:
			p.tally(kind, func(t *tally) { t.Made++ })
			p.escape(fmt.Sprintf("%s: %s", w.kit.Name(), h.name))
		case !h.real:
			p.tally(kind, func(t *tally) { t.Made++; t.Caught++ })
			p.say("caught by hand: %-12s %-50s %.200v", w.kit.Name(), h.name, err)
		}
	}
	if w.kit.Root {
		return nil
	}
	return p.loadersByHand(w)
}

// breaks judges a trace until the first disk that breaks the promise.
func (p *proof) breaks(r *recorded, h handMutant) error {
	fake := *r
	if h.trace != nil {
		fake.trace = h.trace(r)
	}
	for i := range fake.metaAt {
		fake.metaAt[i] = true
	}
	asked := map[sort]int{}
	for _, block := range []int{512, 4096} {
		err := fake.trace.Crashes(disktest.Options{Seed: p.Seed, Block: block, Exhaustive: 6, Destroyed: 256,
			Samples: 16}, func(c *disktest.Crash) error {
			v, err := fake.judge(c)
			if err != nil {
				return err
			}
			if err := fake.comesBack(c); err != nil {
				return err
			}
			s := sort{step: c.Step, index: c.Index, boots: v.label}
			if asked[s]++; asked[s] > 3 {
				return nil
			}
			if destroyed, _ := c.Destroyed(); !destroyed && !r.liar {
				if err := fake.whole(c); err != nil {
					return err
				}
			}
			_, _, err = fake.truth(c)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
