package loadertest

import (
	"fmt"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// crash cuts each operation at every write and judges every disk.
func (s *suite) crash(t *testing.T) {
	a, b := bootloader.A, bootloader.B
	oldA, newB, trialB := s.boots(a, "1", false), s.boots(b, "2", false), s.boots(b, "2", true)
	cases := []crashCase{
		{name: "install", from: func() (*Rig, error) {
			m, err := s.machine()
			return &Rig{Machine: m}, err
		}, do: func(r *Rig) error { return s.installAll(r.Machine) },
			ok: func(o predict.Outcome) error {
				if o.Slot == bootloader.None {
					return nil
				}
				return oldA(o)
			}, once: true},
		{name: "upgrade", from: s.Installed, do: func(r *Rig) error { return r.prepare(b, "2") }, ok: oldA},
		{name: "arm", from: s.prepared, do: func(r *Rig) error { return r.arm(b) }, ok: either(oldA, trialB),
			then: oldA},
		{name: "arm again in a trial", from: s.trial, do: func(r *Rig) error { return r.again(1) },
			ok: either(oldA, trialB), then: oldA, once: true},
		{name: "confirm of a trial that is armed again", from: s.tried, do: func(r *Rig) error { return r.Confirm(b) },
			ok: either(oldA, either(trialB, newB)), then: either(oldA, newB)},
		{name: "disarm", from: s.armed, do: func(r *Rig) error { return r.Disarm() }, ok: either(oldA, trialB),
			then: oldA},
		{name: "confirm", from: s.trial, do: func(r *Rig) error { return r.Confirm(b) }, ok: either(oldA, newB)},
		{name: "boot of a trial", from: s.armed, do: func(r *Rig) error { return r.boot() }, ok: either(oldA, trialB),
			then: oldA, once: true},
		{name: "boot of the default", from: s.prepared, do: func(r *Rig) error { return r.boot() }, ok: oldA,
			once: true},
		{name: "upgrade after a confirm", from: s.confirmed, do: func(r *Rig) error { return r.prepare(a, "3") },
			ok: newB},
		{name: "upgrade over an armed target", from: s.armed, do: func(r *Rig) error { return r.prepare(b, "3") },
			ok: either(oldA, trialB), then: oldA},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, s.Subject) })
	}
}

// boot is a boot as something to cut: GRUB writes in it.
func (r *Rig) boot() error {
	r.Disk.Step("boot")
	_, err := r.Boot()
	return err
}

func (b Subject) prepared() (*Rig, error) {
	r, err := b.Installed()
	if err == nil {
		err = r.prepare(bootloader.B, "2")
	}
	return r, err
}

func (b Subject) armed() (*Rig, error) {
	r, err := b.prepared()
	if err == nil {
		err = r.arm(bootloader.B)
	}
	return r, err
}

func (b Subject) trial() (*Rig, error) {
	r, err := b.armed()
	if err != nil {
		return nil, err
	}
	if _, err := r.Boot(); err != nil {
		return nil, err
	}
	return b.Rig(r.Machine)
}

// tried is a trial that is to get another boot.
func (b Subject) tried() (*Rig, error) {
	r, err := b.trial()
	if err == nil {
		err = r.again(1)
	}
	return r, err
}

func (b Subject) confirmed() (*Rig, error) {
	r, err := b.trial()
	if err != nil {
		return nil, err
	}
	if err := r.Confirm(bootloader.B); err != nil {
		return nil, err
	}
	if _, err := r.Boot(); err != nil {
		return nil, err
	}
	return b.Rig(r.Machine)
}

func either(f, g func(predict.Outcome) error) func(predict.Outcome) error {
	return func(o predict.Outcome) error {
		if f(o) == nil {
			return nil
		}
		return g(o)
	}
}

type crashCase struct {
	name string
	from func() (*Rig, error)
	do   func(*Rig) error
	ok   func(predict.Outcome) error // the boot after the cut
	then func(predict.Outcome) error // the one after that; nil: as ok
	once bool                        // the operation cannot be run again on what the cut left
}

func (c crashCase) run(t *testing.T, b Subject) {
	r, err := c.from()
	noError(t, err)
	r.Disk.Record()
	noError(t, c.do(r))
	trace, seen := r.Disk.Trace(), 0
	for _, block := range []int{512, 4096} {
		err := trace.Crashes(disktest.Options{Block: block, Samples: 8, NoDestroyed: b.NotIsolated},
			func(crash *disktest.Crash) error {
				seen++
				m, err := r.Crashed(crash)
				if err != nil {
					return err
				}
				first, err := m.Boot()
				if err == nil {
					err = c.ok(first)
				}
				if err != nil {
					return err
				}
				again := m.Clone()
				second, err := again.Boot()
				if err != nil {
					return err
				}
				then := c.then
				if then == nil {
					then = c.ok
				}
				if err := then(second); err != nil {
					return fmt.Errorf("second boot: %w", err)
				}
				if c.once || first.Trial || seen%24 != 0 {
					return nil
				}
				return c.repeat(b, m)
			})
		noError(t, err)
	}
	t.Logf("%d operations, %d disks", len(trace.Ops), seen)
	holds(t, seen > 2 || len(trace.Ops) == 0)
}

// repeat runs the operation again after the boot that followed the cut. It may say that there is nothing to do any more
// (the slot that runs is confirmed), but what it leaves must boot.
func (c crashCase) repeat(b Subject, m *Machine) error {
	r, err := b.Rig(m)
	if err != nil {
		return fmt.Errorf("open after the cut: %w", err)
	}
	if err := c.do(r); err != nil {
		return fmt.Errorf("run again: %w", err)
	}
	o, err := m.Boot()
	if err != nil {
		return err
	}
	if err := c.ok(o); err != nil {
		return fmt.Errorf("after running it again: %w", err)
	}
	return nil
}
