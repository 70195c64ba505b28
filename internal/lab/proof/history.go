package proof

import (
	"fmt"
	"math/rand/v2"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// A history is a machine's life in seeded random operations, cuts and boots: each operation starts from whatever the
// ones before have left, destroyed blocks included, and is judged as those of the table are, with fewer disks each.

// histories runs until enough disks were seen that differ for a loader.
func (p *proof) histories(worker int, worlds []world) error {
	rnd := rand.New(rand.NewPCG(uint64(p.Seed), uint64(worker)))
	for life := 0; !p.enough(); life++ {
		w := worlds[rnd.IntN(len(worlds))]
		side := bootloader.Slots()[rnd.IntN(2)]
		m := w.bases[side].clone()
		for age := 0; age < 40 && !p.enough(); age++ {
			next, err := p.live(m, rnd, side)
			if err != nil {
				return fmt.Errorf("%s: history %d of worker %d (seed %d), operation %d: %w", w.kit.Loader, life, worker,
					p.Seed, age, err)
			}
			m = next
		}
	}
	return nil
}

func (p *proof) enough() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.distinct >= p.Distinct && p.distinct-p.tabled >= p.Lived || len(p.bricks) > 100
}

// live does one operation and says from where life goes on.
func (p *proof) live(m *machine, rnd *rand.Rand, side bootloader.Slot) (*machine, error) {
	op, err := p.choose(m, rnd)
	if err != nil {
		return nil, err
	}
	r, err := record(op, start{name: "history"}, side, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.name, err)
	}
	o := disktest.Options{Seed: rnd.Int64(), Block: []int{512, 4096}[rnd.IntN(2)], Exhaustive: 7, Destroyed: 96,
		Samples: 16}
	if rnd.IntN(2) == 0 {
		o.Block, o.Exhaustive = 512, 12
	}
	p.walk(r, o, sparse)
	switch rnd.IntN(5) {
	case 0, 1: // the power is cut during the operation
		pick := 1 + rnd.IntN(max(1, r.trace.Count(o)))
		o.Only = pick
		var left *machine
		err := r.trace.Crashes(o, func(c *disktest.Crash) (err error) {
			left, err = r.from.crashed(c)
			return err
		})
		if err != nil || left == nil {
			return m, err
		}
		m = left
		return m, m.boot()
	case 2, 3:
		return m, m.boot()
	}
	return m, nil
}

// choose picks an operation that makes sense where the machine stands.
func (p *proof) choose(m *machine, rnd *rand.Rand) (operation, error) {
	var st report.Status
	if err := m.with(func(s *upgrade.Machine) (err error) { st, err = s.Status(); return err }); err != nil {
		return operation{}, err
	}
	version := fmt.Sprintf("1.2.%d", 10+rnd.IntN(90))
	tries := 0
	if m.kit.grub() {
		tries = rnd.IntN(4)
		if rnd.IntN(8) == 0 {
			return bootItself(), nil
		}
	}
	forced := func(m *machine) upgrade.Options {
		o := m.options(rnd.IntN(2) == 0)
		o.Force, o.Tries = true, tries
		return o
	}
	if st.Attempt != nil && st.Attempt.Open() && st.Attempt.Boots.Prepared != m.bootID() && !st.Loader.Trial() {
		return operation{name: "settle", end: stays, do: startedStep}, nil
	}
	if st.Loader.Trial() {
		if st.Attempt != nil && st.Attempt.Boots.Started != m.bootID() {
			return operation{name: "started, with wipe", end: stays, wipes: true, do: startedStep}, nil
		}
		switch rnd.IntN(6) {
		case 0:
			return operation{name: "failed", end: stays, disarms: true, do: func(m *machine) error {
				m.disk.Step("failed")
				return m.failed("no space")
			}}, nil
		case 1:
			return operation{name: "rollback of a trial", end: stays, disarms: true, do: (*machine).rollback}, nil
		}
		return operation{name: "confirm", end: changes, commit: "confirm", what: activeSlot, do: (*machine).confirm},
			nil
	}
	if st.Loader.Armed != bootloader.None && rnd.IntN(3) == 0 {
		return operation{name: "rollback of an armed upgrade", end: stays, disarms: true, do: (*machine).rollback}, nil
	}
	other := st.Slots[0]
	if other.Slot == st.Loader.Active {
		other = st.Slots[1]
	}
	held, err := m.holds(other.Slot)
	whole := err == nil && held != nil && m.intact(other.Slot) == nil
	switch n := rnd.IntN(10); {
	case n == 0:
		return operation{name: "META update", end: stays, do: func(m *machine) error {
			m.disk.Step("META")
			store, err := m.meta()
			if err != nil {
				return err
			}
			return store.Set(0x0a, []byte(version))
		}}, nil
	case n <= 2 && whole && st.Loader.Armed == bootloader.None && len(st.Loader.Bootable) == 2:
		return operation{name: "rollback", end: arms, commit: "arm", what: otherSlot, do: (*machine).goBack}, nil
	case n <= 4:
		return operation{name: "prepare", end: stays, disarms: true, do: func(m *machine) error {
			img, err := m.kit.Image(version)
			if err != nil {
				return err
			}
			return m.with(func(s *upgrade.Machine) error {
				_, err := s.Prepare(m.context(), img, forced(m))
				return err
			})
		}}, nil
	}
	return operation{name: "upgrade", end: arms, commit: "arm", tries: tries, what: imageOf(version),
		do: func(m *machine) error {
			return m.upgrade(version, forced(m))
		}}, nil
}
