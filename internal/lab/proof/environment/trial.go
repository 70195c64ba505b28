package environment

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// armed requires what is promised of an armed attempt: what matters most always, and one of the others.
func (j judge) armed(c *machine, a attempt.Attempt) error {
	tries := max(a.Tries, 1)
	if j.m.vars.untold() {
		return j.unsaid(c, a)
	}
	if err := j.dies(c.clone(), a, tries); err != nil {
		return err
	}
	if j.promise == 0 {
		if c.kit.Root {
			if err := j.losesRoot(c.clone(), a, tries); err != nil {
				return err
			}
		}
		return j.doesNotLoad(c.clone(), a)
	}
	t := c.clone()
	if err := j.trial(t, a, "the first trial"); err != nil {
		return err
	}
	if j.promise == 1 {
		if err := j.diesStarted(t.clone(), a, tries); err != nil {
			return err
		}
	} else if err := j.fails(t.clone(), a); err != nil {
		return err
	}
	return j.passes(t, a)
}

// unsaid is a trial of which no system to come can know that it is one: nobody could foresee that. What boots is as
// promised all the same.
func (j judge) unsaid(c *machine, a attempt.Attempt) error {
	if c.keeps {
		return nil
	}
	if err := c.boot(); err != nil {
		return broken("an untold trial, the model does not know", "%v", err)
	}
	if !isNew(c, a) || !c.last.Trial {
		return broken("an untold trial is none", "%v, want a trial of %s in slot %v", told(c.last), a.Version, a.To)
	}
	return j.boots(c, j.old, "after an untold trial", 2)
}

// isNew reports whether a boot started what an attempt moves to.
func isNew(c *machine, a attempt.Attempt) bool {
	got, ok := c.runs(c.last)
	return ok && got.slot == a.To && got.version == a.Version
}

// trial boots, which must be a trial, and says that it started.
func (j judge) trial(c *machine, a attempt.Attempt, when string) error {
	if err := c.boot(); err != nil {
		return broken(when+", the model does not know", "%v", err)
	}
	if !isNew(c, a) || !c.last.Trial {
		return broken(when+" is none", "%v, want a trial of %s in slot %v", told(c.last), a.Version, a.To)
	}
	return j.started(c, a, when)
}

func (j judge) started(c *machine, a attempt.Attempt, when string) error {
	err := c.with(func(s *upgrade.Machine) error {
		b, err := s.Started(j.ctx)
		if err == nil && (!b.Trial || b.Attempt == nil || b.Attempt.ID != a.ID) {
			err = fmt.Errorf("trial %v, attempt %v", b.Trial, b.Attempt)
		}
		return err
	})
	if err != nil {
		return broken(when+" cannot say that it started", "%v", err)
	}
	return nil
}

// dies is a trial that never says a word.
func (j judge) dies(c *machine, a attempt.Attempt, tries int) error {
	if c.keeps {
		return nil // nobody can know before the first trial says something
	}
	want, got := 1, 0
	if c.kit.Loader != loaders.SystemdBoot {
		want = tries
	}
	for range want + 1 {
		if err := c.boot(); err != nil {
			return broken("a trial dies, the model does not know", "%v", err)
		}
		if !c.last.Trial || !isNew(c, a) {
			break
		}
		got++
	}
	if got != want && !(c.unrecorded && got < want) {
		return broken("a trial that dies is not tried as often as it should be", "%d times, want %d; then %v", got,
			want, told(c.last))
	}
	return j.fellBack(c, a, "a trial dies without a word")
}

// diesStarted is a trial that says that it started, each time, and dies.
func (j judge) diesStarted(c *machine, a attempt.Attempt, tries int) error {
	got := 1
	for range tries + 1 {
		if err := c.boot(); err != nil {
			return broken("a trial starts and dies, the model does not know", "%v", err)
		}
		if !c.last.Trial || !isNew(c, a) {
			break
		}
		got++
		if err := j.started(c, a, "another trial"); err != nil {
			return err
		}
	}
	if got != tries && !((c.keeps || c.unrecorded) && got < tries) {
		return broken("a trial that starts and dies is not tried as often as it should be",
			"%d times, want %d; then %v", got, tries, told(c.last))
	}
	return j.fellBack(c, a, "a trial starts and dies")
}

// doesNotLoad is a version whose kernel is damaged between the read-back and the trial.
func (j judge) doesNotLoad(c *machine, a attempt.Attempt) error {
	if err := c.spoil(a.To); err != nil {
		return broken("the new version cannot be damaged", "%v", err)
	}
	for range max(a.Tries, 1) + 1 {
		if err := c.boot(); err != nil {
			return broken("a version does not load, the model does not know", "%v", err)
		}
		if got, ok := c.runs(c.last); !ok || got != j.old {
			return broken("a version does not load, what should boot does not", "%v, want %v", told(c.last), j.old)
		}
	}
	if c.keeps {
		return nil // it is tried again in each power cycle, and nothing runs that could tell
	}
	return j.fellBack(c, a, "a version does not load")
}

// fails is a trial whose checks say no.
func (j judge) fails(c *machine, a attempt.Attempt) error {
	if err := c.with(func(s *upgrade.Machine) error { return s.Failed(j.ctx, "check net: no answer") }); err != nil {
		return broken("a trial cannot be given up", "%v", err)
	}
	if err := c.boot(); err != nil {
		return broken("a trial fails, the model does not know", "%v", err)
	}
	return j.fellBack(c, a, "a trial fails")
}

// fellBack requires that the boot that just came is the default's, that it knows how the attempt ended, and that it
// comes again.
func (j judge) fellBack(c *machine, a attempt.Attempt, when string) error {
	if got, ok := c.runs(c.last); !ok || got != j.old || c.last.Trial {
		return broken(when+", what should boot does not", "%v, want %v by itself", told(c.last), j.old)
	}
	err := c.with(func(s *upgrade.Machine) error {
		b, err := s.Started(j.ctx)
		if err == nil && (!b.Ended || b.Attempt == nil || b.Attempt.ID != a.ID ||
			b.Attempt.Result != attempt.FellBack) {
			err = fmt.Errorf("ended %v, attempt %v", b.Ended, b.Attempt)
		}
		return err
	})
	if err != nil {
		return broken(when+", and its end is not recorded", "%v", err)
	}
	return j.boots(c, j.old, when, 1)
}

// passes is a trial whose checks pass.
func (j judge) passes(c *machine, a attempt.Attempt) error {
	s, _ := c.runs(c.last)
	err := c.with(func(m *upgrade.Machine) error {
		ended, err := m.Confirm(j.ctx, upgrade.Options{})
		if err == nil && (ended == nil || ended.ID != a.ID || ended.Result != attempt.Confirmed) {
			err = fmt.Errorf("the attempt is %v", ended)
		}
		return err
	})
	if err != nil {
		return broken("a trial cannot be confirmed", "%v", err)
	}
	return j.isDefault(c, s, "confirmed")
}

// isDefault requires that a system is what boots from now on, and that it knows that. What armed it may start it once
// more where nothing can be deleted: it starts the very slot that is the default. What another program has set for the
// next boot is obeyed once, since it is left as it is; but that must not be the other slot.
func (j judge) isDefault(c *machine, s system, when string) error {
	others := c.setByOthers()
	if others && c.keeps {
		return nil // it is obeyed for ever, by the firmware's fault
	}
	if err := c.boot(); err != nil {
		return broken(when+", the model does not know", "%v", err)
	}
	if others {
		if c.last.Slot == s.slot.Other() {
			return broken(when+", what others set starts the other slot", "%v, want %v", told(c.last), s)
		}
		if c.last.Slot != s.slot || c.last.Trial { // that was it
			if err := c.boot(); err != nil {
				return broken(when+", the model does not know", "%v", err)
			}
		}
	}
	got, ok := c.runs(c.last)
	if twin := s; ok { // somebody copied a slot over the other: it is the same system, whichever is told to run
		twin.slot = got.slot
		if got == twin && !c.last.Trial {
			s = got
		}
	}
	if !ok || got != s || c.last.Trial && !c.vars.holdsOn() {
		return broken(when+", the next boot is another", "%v, want %v by itself", told(c.last), s)
	}
	err := c.with(func(m *upgrade.Machine) error {
		b, err := m.Started(j.ctx)
		if err == nil && b.Trial {
			err = fmt.Errorf("it takes itself for a trial")
		}
		return err
	})
	if err != nil {
		return broken(when+", and does not know", "%v", err)
	}
	if err := j.boots(c, s, when+", later", 1); err != nil {
		return err
	}
	// It has brought a loader, which is installed, tried first, or left: the machine boots the same.
	_ = c.with(func(m *upgrade.Machine) error {
		_, err := m.ReplaceLoader(j.ctx, upgrade.LoaderOptions{})
		return err
	})
	if err := j.boots(c, s, "the loader replaced", 2); err != nil {
		return err
	}
	return j.untouched(c)
}
