package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/upgrade"
)

// wrong is a promise of the table in docs/architecture.md that was not kept.
type wrong struct {
	kind   string // which one, of which operation
	detail string // what happened instead
}

func (w *wrong) Error() string { return w.kind + ": " + w.detail }

func broken(kind, format string, args ...any) error {
	return &wrong{kind, fmt.Sprintf(format, args...)}
}

// outcome is what became of one operation on one environment.
type outcome struct {
	operation string
	accepted  bool
	err       error // a *wrong, or why it was refused
}

// settled is what the machine boots by itself, once whatever is set to be tried is over. ok is false where that is not one of our
// systems, or not the same each time.
func settled(m *machine) (s system, ok bool, err error) {
	c := m.clone()
	c.keeps = false
	for range 12 {
		if err := c.boot(); err != nil {
			return system{}, false, err
		}
		if c.last.Trial && c.last.Slot != "" {
			continue
		}
		if s, ok = c.runs(c.last); !ok {
			return s, false, nil
		}
		if err := c.boot(); err != nil {
			return system{}, false, err
		}
		again, _ := c.runs(c.last)
		return s, again == s && !c.last.Trial, nil
	}
	return system{}, false, nil
}

// judge has operations done on a machine that runs.
type judge struct {
	ctx     context.Context
	m       *machine
	old     system // what the machine boots by itself
	version string // that is upgraded to
	options upgrade.Options
	staged  bool // rather than armed at once
	plans   bool // the plan is asked first
	ordered bool // META had an attempt for the slot that runs
	second  bool // the other operation is asked first
	promise int  // which of the ends of a trial is looked at besides
	others  map[string][]byte
}

// ask has the operation done that was drawn, of those that the machine's state allows. What is refused costs little, so the next is
// asked then, until one is accepted. A refusal must leave everything as it was.
func (j judge) ask() (list []outcome) {
	operations := []asked{{"upgrade", j.upgrade}, {"rollback", j.rollback}}
	if j.m.last.Trial {
		operations = []asked{{"confirm", j.confirm}, {"end of a trial", j.rollback}}
	}
	if j.second {
		slices.Reverse(operations)
	}
	for _, a := range operations {
		o := j.do(a.name, a.do)
		if list = append(list, o); o.accepted {
			break
		}
	}
	return list
}

// asked is an operation by its name.
type asked struct {
	name string
	do   func(*machine) (accepted bool, err error)
}

// do has one operation done, on a copy of the machine.
func (j judge) do(name string, operation func(*machine) (bool, error)) outcome {
	c := j.m.clone()
	accepted, err := operation(c)
	if w, is := err.(*wrong); is {
		err = &wrong{name + ": " + w.kind, w.detail}
	}
	return outcome{name, accepted, err}
}

// refused is how an operation's error is judged: it must have come before the first write. That a store of variables is full shows
// only when it is written to; then nothing may be armed, and the default boots as before.
func (j judge) refused(c *machine, err error) (bool, error) {
	if c.vars.full && errors.Is(err, bootloader.ErrNoVariables) {
		if broke := j.boots(c, j.old, "after the variables were found full", 2); broke != nil {
			return false, broke
		}
		return false, err
	}
	if c.disk.writes > 0 || !maps.EqualFunc(c.vars.Values(), j.m.vars.Values(), bytes.Equal) {
		return false, broken("fails after its first write", "%v", err)
	}
	return false, err
}

// boots requires that a machine boots a system by itself, n times in a row.
func (j judge) boots(m *machine, s system, when string, n int) error {
	c := m.clone()
	for i := range n {
		if err := c.boot(); err != nil {
			return broken(when+", the model does not know", "%v", err)
		}
		if got, ok := c.runs(c.last); !ok || got != s || c.last.Trial {
			return broken(when+", what should boot does not", "boot %d is %v, want %v by itself", i+1, told(c.last), s)
		}
	}
	return nil
}

func told(o predict.Outcome) string {
	if o.Stuck != "" {
		return o.Stuck
	}
	how := "by itself"
	if o.Trial {
		how = "as a trial"
	}
	return fmt.Sprintf("%s %s", o.Path, how)
}

func (j judge) upgrade(c *machine) (bool, error) {
	img, err := c.kit.Image(j.version)
	if err != nil {
		return false, broken("no image", "%v", err)
	}
	s, err := c.open()
	if err != nil {
		return j.refused(c, err)
	}
	c.disk.writes = 0 // META's copies were made to agree
	var planned error
	if j.plans {
		if _, planned = s.Plan(j.ctx, img, j.options); c.disk.writes > 0 {
			return false, broken("the plan writes", "")
		}
	}
	if j.staged {
		_, err = s.Stage(j.ctx, img, j.options)
	} else {
		_, err = s.Prepare(j.ctx, img, j.options)
	}
	switch {
	case err != nil && j.plans && planned == nil && c.disk.writes == 0:
		return false, broken("the plan is made, the operation refused", "%v", err)
	case err != nil:
		return j.refused(c, err)
	case planned != nil:
		return false, broken("the plan is refused, the operation not", "%v", planned)
	}
	if err := j.boots(c, j.old, "after prepare", 2); err != nil {
		return true, err
	}
	var a upgrade.Attempt
	if j.staged {
		if err := c.boot(); err != nil {
			return true, broken("the model does not know", "%v", err)
		}
		if s, err = c.open(); err != nil {
			return true, broken("after it was staged, the system does not open", "%v", err)
		}
		b, err := s.Started(j.ctx)
		if err != nil || !b.Staged {
			return true, broken("what is staged is not found", "staged %v: %v", b.Staged, err)
		}
		if a, err = s.ApplyStaged(j.ctx, j.options); err != nil && c.vars.full {
			return j.refused(c, err)
		} else if err != nil {
			return true, broken("what is staged cannot be armed", "%v", err)
		}
	} else if a, err = s.Arm(j.ctx, j.options); err != nil && c.vars.full {
		return j.refused(c, err)
	} else if err != nil {
		return true, broken("what is prepared cannot be armed", "%v", err)
	}
	return true, j.armed(c, a)
}

func (j judge) rollback(c *machine) (bool, error) {
	s, err := c.open()
	if err != nil {
		return j.refused(c, err)
	}
	c.disk.writes = 0
	a, err := s.Rollback(j.ctx, j.options)
	if err != nil {
		return j.refused(c, err)
	}
	if !a.Open() && j.m.last.Trial && c.keeps {
		return true, nil // what was armed before the firmware's fault is not the judge's
	}
	if !a.Open() { // something was armed, prepared or staged, and is taken back
		return true, j.boots(c, j.old, "after it was taken back", 2)
	}
	return true, j.armed(c, a)
}

// armed requires what is promised of an armed attempt: what matters most always, and one of the others.
func (j judge) armed(c *machine, a upgrade.Attempt) error {
	tries := max(a.Tries, 1)
	if err := j.dies(c.clone(), a, tries); err != nil {
		return err
	}
	if j.promise == 0 {
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

// isNew reports whether a boot started what an attempt moves to.
func isNew(c *machine, a upgrade.Attempt) bool {
	got, ok := c.runs(c.last)
	return ok && got.slot == a.To && got.version == a.Version
}

// trial boots, which must be a trial, and says that it started.
func (j judge) trial(c *machine, a upgrade.Attempt, when string) error {
	if err := c.boot(); err != nil {
		return broken(when+", the model does not know", "%v", err)
	}
	if !isNew(c, a) || !c.last.Trial {
		return broken(when+" is none", "%v, want a trial of %s in slot %v", told(c.last), a.Version, a.To)
	}
	return j.started(c, a, when)
}

func (j judge) started(c *machine, a upgrade.Attempt, when string) error {
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
func (j judge) dies(c *machine, a upgrade.Attempt, tries int) error {
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
		return broken("a trial that dies is not tried as often as it should be", "%d times, want %d; then %v", got, want, told(c.last))
	}
	return j.fellBack(c, a, "a trial dies without a word")
}

// diesStarted is a trial that says that it started, each time, and dies.
func (j judge) diesStarted(c *machine, a upgrade.Attempt, tries int) error {
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
		return broken("a trial that starts and dies is not tried as often as it should be", "%d times, want %d; then %v", got, tries, told(c.last))
	}
	return j.fellBack(c, a, "a trial starts and dies")
}

// doesNotLoad is a version whose kernel is damaged between the read-back and the trial.
func (j judge) doesNotLoad(c *machine, a upgrade.Attempt) error {
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
func (j judge) fails(c *machine, a upgrade.Attempt) error {
	if err := c.with(func(s *upgrade.Machine) error { return s.Failed(j.ctx, "check net: no answer") }); err != nil {
		return broken("a trial cannot be given up", "%v", err)
	}
	if err := c.boot(); err != nil {
		return broken("a trial fails, the model does not know", "%v", err)
	}
	return j.fellBack(c, a, "a trial fails")
}

// fellBack requires that the boot that just came is the default's, that it knows how the attempt ended, and that it comes again.
func (j judge) fellBack(c *machine, a upgrade.Attempt, when string) error {
	if got, ok := c.runs(c.last); !ok || got != j.old || c.last.Trial {
		return broken(when+", what should boot does not", "%v, want %v by itself", told(c.last), j.old)
	}
	err := c.with(func(s *upgrade.Machine) error {
		b, err := s.Started(j.ctx)
		if err == nil && (!b.Ended || b.Attempt == nil || b.Attempt.ID != a.ID || b.Attempt.Result != upgrade.FellBack) {
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
func (j judge) passes(c *machine, a upgrade.Attempt) error {
	s, _ := c.runs(c.last)
	err := c.with(func(m *upgrade.Machine) error {
		ended, err := m.Confirm(j.ctx, upgrade.Options{})
		if err == nil && (ended == nil || ended.ID != a.ID || ended.Result != upgrade.Confirmed) {
			err = fmt.Errorf("the attempt is %v", ended)
		}
		return err
	})
	if err != nil {
		return broken("a trial cannot be confirmed", "%v", err)
	}
	return j.isDefault(c, s, "confirmed")
}

// isDefault requires that a system is what boots from now on, and that it knows that.
func (j judge) isDefault(c *machine, s system, when string) error {
	if err := c.boot(); err != nil {
		return broken(when+", the model does not know", "%v", err)
	}
	if got, ok := c.runs(c.last); !ok || got != s || c.last.Trial {
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
	if s.version == otherLoader {
		// It has brought a loader, which is installed or left: the machine boots the same.
		_ = c.with(func(m *upgrade.Machine) error {
			_, err := m.ReplaceLoader(j.ctx, upgrade.LoaderOptions{})
			return err
		})
		if err := j.boots(c, s, "the loader replaced", 2); err != nil {
			return err
		}
	}
	return j.untouched(c)
}

// untouched requires that the files of others are as they were.
func (j judge) untouched(c *machine) error {
	if len(j.others) == 0 {
		return nil
	}
	f, err := c.files()
	if err != nil {
		return broken("the boot file system cannot be read", "%v", err)
	}
	for path, want := range j.others {
		if got, err := f.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			return broken("a file of others is not as it was", "%s: %v", path, err)
		}
	}
	return nil
}

// confirm is that of a trial that others may have changed since it was armed.
func (j judge) confirm(c *machine) (bool, error) {
	s, err := c.open()
	if err != nil {
		return j.refused(c, err)
	}
	c.disk.writes = 0
	runs, _ := c.runs(c.last)
	if _, err := s.Confirm(j.ctx, upgrade.Options{}); err != nil {
		return j.refused(c, err)
	}
	if !j.ordered && runs != j.old {
		return true, broken("a boot that no attempt ordered is confirmed by itself", "%v, the default is %v", runs, j.old)
	}
	return true, j.isDefault(c, runs, "confirmed")
}
