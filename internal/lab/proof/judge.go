package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// labels is what a machine's latest boot started.
func (r *recorded) labels(m *machine) (label, error) {
	is, o := m.runs, m.last
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
		return 0, fmt.Errorf("booted %v; known are the default %v (%.8s), armed before %v, after it %v", o, r.old,
			r.old.digest(), r.armed, r.new)
	}
	return l, nil
}

// allowed is what may boot after a cut in a step, after the operation at index on the disk.
func (r *recorded) allowed(step string, index int, finished bool) label {
	before, after := r.around(step)
	may := before
	switch {
	case finished:
		may = after
	case r.op.commit == "*" || r.op.commit == step && step != "":
		may |= after
	}
	if index < r.lost && r.armed != nil && (index >= 0 || r.most > r.tries) {
		may |= theArmed | theOld // what the loader counted down is not flushed: there, gone or destroyed
	}
	return may
}

// around is what boots before an operation, in a step of it, and after it.
func (r *recorded) around(step string) (before, after label) {
	before = theOld
	if r.fresh() {
		before = none
	}
	if r.tries > 0 {
		switch {
		case step == "disarm" || step == "failed":
			before = theOld | theArmed
		case step == "confirm" && !r.from.kit.grub():
			before = theOld | theArmed // systemd-boot cannot try an entry that is destroyed while it is rewritten
		case step == "" || step == "find" || step == bootStep || r.op.end == changes || r.op.end == stays &&
			!r.op.disarms:
			before = theArmed
		}
	}
	after = before
	switch {
	case r.op.end == arms:
		after = theTrial
	case r.op.end == changes:
		after = theNew
	case r.op.disarms:
		after = theOld
	}
	return before, after
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
	armed := m.armedSlot(r.counts)
	v := verdict{seen: r.view.loader(m)}
	if v.read, err = m.see(); err != nil {
		return v, err
	}
	if v.label, err = r.labels(m); err != nil {
		return v, err
	}
	if want := r.allowed(c.Step, c.Index, c.Finished); v.label&want == 0 {
		return v, fmt.Errorf("%v boots, where only %v may: %v", v.label, want, m.last)
	}
	if !r.op.byWay && !m.asArmed(armed) {
		return v, fmt.Errorf("%v boots with slot %v armed", v.label, armed)
	}
	if r.op.loader {
		if err := r.replaced(m, c); err != nil {
			return v, err
		}
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

// asArmed reports whether a boot was a trial where a slot was armed before it, and only then. GRUB counts nothing down
// for a slot that is the default by now, and says why it does not try one.
func (m *machine) asArmed(armed bootloader.Slot) bool {
	switch {
	case m.last.Trial:
		return m.last.Slot == armed
	case armed == bootloader.None:
		return true
	}
	return m.kit.grub() && (m.last.Slot == armed || strings.Contains(m.last.Cmdline, " pawl.failed="+string(armed)+":"))
}

// wiped holds EPHEMERAL against META: it is touched only once META says that the new version started, and META says
// that it was wiped only once it is.
func (r *recorded) wiped(m *machine, c *disktest.Crash) error {
	p, err := m.part("EPHEMERAL")
	if err != nil {
		return err
	}
	text, _, err := readMeta(m.disk)
	if err != nil {
		return err
	}
	var a attempt.Attempt
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
	if touched && a.State != attempt.Started {
		return fmt.Errorf("EPHEMERAL is wiped, and META does not say that the new version started: %q", a.String())
	}
	if a.Wiped && !wiped && !destroyed {
		return errors.New("META says that EPHEMERAL is wiped, and it is not")
	}
	return nil
}

// comesBack boots until it is certain what boots from now on: what was not confirmed is over after the boots that it
// was given, never later, and the default boots.
func (r *recorded) comesBack(c *disktest.Crash) error {
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	trials, most := 0, 0
	for last := label(0); ; {
		if err := m.boot(); err != nil {
			return err
		}
		l, err := r.labels(m)
		switch {
		case err != nil:
			return fmt.Errorf("the boot after: %w", err)
		case last != 0 && l != last:
			return fmt.Errorf("%v boots, and in the boot after it %v", last, l)
		case last != 0:
			return nil
		case !m.last.Trial:
			last = l
			continue
		}
		if trials++; trials == 1 {
			most = r.boots(l, c)
		}
		if trials > most {
			return fmt.Errorf("a trial is repeated: boot %d of it where %d are counted: %v", trials, most, m.last)
		}
	}
}

// boots is how often a trial may boot after a cut.
func (r *recorded) boots(l label, c *disktest.Crash) (n int) {
	if l&theArmed != 0 {
		if n = r.tries; c.Index < r.lost {
			n = r.most
		}
	}
	if l&theTrial != 0 {
		n = max(n, r.op.tries, 1)
	}
	return n
}
