package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// labels is what a boot started.
func (r *recorded) labels(o predict.Outcome) (label, error) {
	is := func(s *system) bool { return s != nil && o.Slot == s.slot && o.Digest == s.uki }
	var l label
	switch {
	case o.Slot == bootloader.None && r.fresh():
		l = none
	case o.Stuck != "":
		return 0, fmt.Errorf("nothing boots: %v", o)
	case o.Trial:
		if is(r.armed) {
			l |= theArmed
		}
		if is(r.new) && r.op.end == arms {
			l |= theTrial
		}
	default:
		if is(r.old) {
			l |= theOld
		}
		if is(r.new) && r.op.end == changes {
			l |= theNew
		}
	}
	if l == 0 {
		return 0, fmt.Errorf("booted %v; known are the default %v (%.8s), armed before %v, after it %v", o, r.old, digest(r.old), r.armed, r.new)
	}
	return l, nil
}

func digest(s *system) string {
	if s == nil {
		return ""
	}
	return s.uki
}

// allowed is what may boot after a cut in a step.
func (r *recorded) allowed(step string, finished bool) label {
	before := theOld
	if r.fresh() {
		before = none
	}
	if r.armed != nil {
		switch {
		case step == "disarm" || r.op.name == "disarm":
			before = theOld | theArmed
		case step == "" || step == "find" || r.op.end == stays && r.op.name != "prepare" && r.op.name != "rollback of an armed upgrade":
			before = theArmed
		}
	}
	after := before
	switch r.op.end {
	case arms:
		after = theTrial
	case changes:
		after = theNew
	case stays:
		if r.armed != nil && (r.op.name == "disarm" || r.op.name == "prepare" || r.op.name == "rollback of an armed upgrade") {
			after = theOld
		}
	}
	switch {
	case finished:
		return after
	case r.op.commit == "*" || r.op.commit == step && step != "":
		return before | after
	}
	return before
}

// verdict is what was found out about one crash disk.
type verdict struct {
	seen, read uint64 // see view.loader and machine.see
	label      label
}

// judge looks at one crash disk. The first error is a brick, or a lie.
func (r *recorded) judge(c *disktest.Crash) (verdict, error) {
	m, err := r.from.crashed(c)
	if err != nil {
		return verdict{}, err
	}
	for _, a := range r.untouchable {
		got := make([]byte, len(a.data))
		if _, err := m.disk.ReadAt(got, a.off); err != nil || !bytes.Equal(got, a.data) {
			return verdict{}, fmt.Errorf("%s is not as it was: %v", a.name, err)
		}
	}
	armed := m.armedSlot()
	v := verdict{seen: r.view.loader(m)}
	if v.read, err = m.see(); err != nil {
		return v, err
	}
	if v.label, err = r.labels(m.last); err != nil {
		return v, err
	}
	if want := r.allowed(c.Step, c.Finished); v.label&want == 0 {
		return v, fmt.Errorf("%v boots, where only %v may: %v", v.label, want, m.last)
	}
	if m.last.Trial != (armed != bootloader.None) {
		return v, fmt.Errorf("%v boots with slot %v armed", v.label, armed)
	}
	if r.op.wipes {
		if err := r.wiped(m, c); err != nil {
			return v, err
		}
	}
	if at := c.Index; !r.op.noMeta && !r.fresh() && at >= 0 && at < len(r.metaAt) && r.metaAt[at] {
		attempt, _, err := readMeta(m.disk)
		if err != nil {
			return v, err
		}
		if !r.attempts[attempt] || c.Finished && attempt != r.lastAttempt {
			return v, fmt.Errorf("META holds an attempt that was never recorded, or lost one: %s", attempt)
		}
	}
	return v, nil
}

// wiped holds EPHEMERAL against META: it is touched only once META says that the new version started, and META says that
// it was wiped only once it is.
func (r *recorded) wiped(m *machine, c *disktest.Crash) error {
	p, err := m.part("EPHEMERAL")
	if err != nil {
		return err
	}
	text, _, err := readMeta(m.disk)
	if err != nil {
		return err
	}
	var a upgrade.Attempt
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	touched, wiped := false, true
	for _, at := range []int64{0, p.Size() - 8192} {
		was, is := make([]byte, 8192), make([]byte, 8192)
		_, _ = r.from.disk.ReadAt(was, r.view.areas["EPHEMERAL"][0]+at)
		if _, err := m.disk.ReadAt(is, r.view.areas["EPHEMERAL"][0]+at); err != nil || !bytes.Equal(was, is) {
			touched = true
		}
		wiped = wiped && bytes.Equal(is, make([]byte, len(is)))
	}
	destroyed, _ := c.Destroyed()
	if touched && a.Phase != upgrade.Started {
		return fmt.Errorf("EPHEMERAL is wiped, and META does not say that the new version started: %q", a.String())
	}
	if a.Wiped && !wiped && !destroyed {
		return errors.New("META says that EPHEMERAL is wiped, and it is not")
	}
	return nil
}

// comesBack boots once more: what was not confirmed is over, and the default boots.
func (r *recorded) comesBack(c *disktest.Crash) error {
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	var first label
	for range 2 {
		if err := m.boot(); err != nil {
			return err
		}
		l, err := r.labels(m.last)
		if err != nil {
			return fmt.Errorf("the boot after: %w", err)
		}
		if m.last.Trial && first != 0 {
			return fmt.Errorf("a trial is repeated: %v", m.last)
		}
		if first != 0 && first&(theTrial|theArmed) == 0 && l != first {
			return fmt.Errorf("%v boots, and in the boot after it %v", first, l)
		}
		first = l
	}
	return nil
}
