package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
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

// settled is what the machine boots by itself, once whatever is set to be tried is over. ok is false where that is not
// one of our systems, or not the same each time.
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

// ask has the operation done that was drawn, of those that the machine's state allows. What is refused costs little, so
// the next is asked then, until one is accepted. A refusal must leave everything as it was.
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

// refused is how an operation's error is judged: it must have come before the first write. That a store of variables is
// full, or that what it takes cannot be read, shows only when it is written to; then either nothing has changed, or
// nothing is armed and the default boots.
func (j judge) refused(c *machine, err error) (bool, error) {
	switch {
	case c.disk.writes == 0 && maps.EqualFunc(c.vars.Values(), j.m.vars.Values(), bytes.Equal):
		return false, err
	case !c.vars.hides() || !errors.Is(err, bootloader.ErrNoVariables):
		return false, broken("fails after its first write", "%v", err)
	}
	const when = "after a variable could not be kept"
	if runs, is := j.m.runs(j.m.last); is && j.m.last.Trial { // which goes on, as often as it was armed before
		if got, ok, _ := settled(c); !ok || got != j.old && got != runs {
			return false, broken(when+", what should boot does not", "%v, want %v or %v", got, j.old, runs)
		}
		return false, err
	}
	if broke := j.boots(c, j.old, when, 2); broke != nil {
		return false, broke
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

// late reports whether an error shows only when the image is read, or a variable is written, neither of which a plan
// does.
func late(err error) bool {
	return errors.Is(err, upgrade.ErrUnfit) || errors.Is(err, bootloader.ErrNoVariables)
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
	case err != nil && j.plans && !j.staged && planned == nil && c.disk.writes == 0 && !late(err):
		return false, broken("the plan is made, the operation refused", "%v", err)
	case err != nil:
		return j.refused(c, err)
	case planned != nil && !j.staged: // a plan is of an upgrade at once
		return false, broken("the plan is refused, the operation not", "%v", planned)
	}
	if err := j.boots(c, j.old, "after prepare", 2); err != nil {
		return true, err
	}
	var a attempt.Attempt
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
		if a, err = s.ApplyStaged(j.ctx, j.options); err != nil && c.vars.hides() {
			return j.refused(c, err)
		} else if err != nil {
			return true, broken("what is staged cannot be armed", "%v", err)
		}
	} else if a, err = s.Arm(j.ctx, j.options); err != nil && c.vars.hides() {
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
		return true, j.back(c)
	}
	return true, j.armed(c, a)
}

// back requires that the default boots as if nothing had been armed: by itself, or first as often as an entry of others
// counted it before.
func (j judge) back(c *machine) error {
	const when = "after it was taken back"
	as := j.m.clone()
	for range 12 {
		if err := as.boot(); err != nil || !as.last.Trial {
			break
		}
		if got, ok := as.runs(as.last); !ok || got != j.old {
			break // what is armed
		}
		if err := c.boot(); err != nil {
			return broken(when+", the model does not know", "%v", err)
		}
		if got, ok := c.runs(c.last); !ok || got != j.old {
			return broken(when+", what should boot does not", "%v, want %v", told(c.last), j.old)
		}
	}
	return j.boots(c, j.old, when, 2)
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
		return true, broken("a boot that no attempt ordered is confirmed by itself", "%v, the default is %v", runs,
			j.old)
	}
	return true, j.isDefault(c, runs, "confirmed")
}
