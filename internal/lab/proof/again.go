package proof

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// afterwards is the version that machines move to when the operation that was cut has none of its own.
const afterwards = "1.2.3"

// again runs the operation again, in the boot that followed the cut, and requires that the machine ends where it would
// have ended without the cut. Where the operation has nothing left to do, the machine must take the next upgrade.
func (r *recorded) again(m *machine, booted label) error {
	if r.fresh() {
		return r.installAgain(m)
	}
	if r.op.noMeta {
		p, err := m.part("META")
		if err != nil {
			return err
		}
		if err := meta.Format(p); err != nil {
			return err
		}
	}
	switch {
	case booted&theTrial != 0, booted&theNew != 0:
		// The operation has done its work; a trial confirms itself, a new default confirms once more and nothing
		// changes.
		if err := m.confirm(); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		return r.settled(m, r.new)
	case booted&theArmed != 0:
		// Nothing is upgraded during a trial; without a word from it the default is back, after the boots that are
		// counted.
		for m.last.Trial {
			if err := m.boot(); err != nil {
				return err
			}
		}
		if _, err := m.started(); err != nil {
			return err
		}
		if m.last.Slot != r.old.slot {
			return fmt.Errorf("after the trial: booted %v, want %v", m.last, r.old)
		}
	}
	if r.op.loader {
		if err := r.replaceAgain(m); err != nil {
			return err
		}
	}
	to := m.last.Slot.Other()
	if r.op.end == arms && r.op.name == "rollback" {
		if err := r.op.do(m); err != nil {
			return err
		}
	} else {
		version := afterwards
		if r.op.end != stays && r.new != nil {
			version = r.new.version
		}
		o := m.options(false)
		o.Force = true // it may be known as bad by now
		if err := m.upgrade(version, o); err != nil {
			return fmt.Errorf("upgrade to %s: %w", version, err)
		}
	}
	want, err := m.holds(to)
	if err != nil {
		return err
	}
	if err := m.next(to); err != nil {
		return fmt.Errorf("after it was run again: %w", err)
	}
	if !m.last.Trial || want == nil || !m.runs(want) {
		return fmt.Errorf("after it was run again: booted %v, want a trial of %v", m.last, want)
	}
	if err := m.confirm(); err != nil {
		return fmt.Errorf("confirm after it was run again: %w", err)
	}
	return r.settled(m, want)
}

func (r *recorded) installAgain(m *machine) error {
	if m.last.Slot == bootloader.None {
		if err := m.install("1.1.0", upgrade.InstallOptions{Force: true}); err != nil {
			return fmt.Errorf("install again: %w", err)
		}
		if err := m.boot(); err != nil {
			return err
		}
	}
	return r.settled(m, r.new)
}

// settled requires that a system is the default, boots by itself, and that no trace of the cut is left on the boot file
// system.
func (r *recorded) settled(m *machine, s *system) error {
	if err := m.boot(); err != nil {
		return err
	}
	if !m.runs(s) || m.last.Trial {
		return fmt.Errorf("in the end: booted %v, want %v by itself", m.last, s)
	}
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	problems, err := f.Check()
	if err != nil {
		return err
	}
	for _, p := range problems {
		if r.fresh() || p.Path != "" {
			return fmt.Errorf("in the end: boot file system: %v", p)
		}
	}
	return nil
}

// killed kills the program after n operations on the disk and the variables, instead of the machine: what it wrote is
// there, the boot goes on, and the operation is run again in it.
func (r *recorded) killed(n int) error {
	if r.fresh() || r.op.noMeta || r.op.firmware {
		return nil
	}
	m := r.from.clone()
	for _, o := range r.trace.Ops[:n] {
		if err := m.replay(o); err != nil {
			return err
		}
	}
	var st report.Status
	if err := m.with(func(s *upgrade.Machine) (err error) { st, err = s.Status(); return err }); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	switch {
	case r.op.name == "rollback", r.op.name == "rollback of an armed upgrade", r.op.name == "rollback of a trial":
		return nil // run again it means something else by now
	case r.op.end == changes && !st.Loader.Trial() && st.Loader.Active != r.new.slot:
		return errors.New("the running slot changed without a boot")
	}
	if err := r.op.do(m); err != nil {
		return fmt.Errorf("run again after it was killed: %w", err)
	}
	if err := m.boot(); err != nil {
		return err
	}
	l, err := r.labels(m)
	if err != nil {
		return fmt.Errorf("run again after it was killed: %w", err)
	}
	if want := r.allowed("", len(r.trace.Ops), true); l&want == 0 {
		return fmt.Errorf("run again after it was killed: %v boots, want %v", l, want)
	}
	return nil
}
