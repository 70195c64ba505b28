package show

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/internal/terminal"
)

// Status is what is known of a machine.
type Status struct {
	Program string // that shows it, "pawl" or "installer": its commands are named
	Node    string // empty for the machine itself
	Version string // of the running system, like Boot; empty if not known
	Boot    string
	Loader  string

	Active, Default, Armed string // slots; empty if there is none
	ArmedBy                string
	Tries                  uint32 // boots that the armed slot gets

	Trial     bool
	GivenUp   string // why the trial was given up
	Unordered string // why a boot of another slot than the default is no trial

	Slots    []Slot
	Attempt  *Attempt // the latest
	KnownBad []Bad

	// of a node service, what it does and waits for
	Operation, Check, Watchdog, Problem string
	OwnChecks                           bool // a trial is confirmed by nothing but Pawl's own checks
	Undoing, Notes                      []string

	Blocked  string // why no upgrade can be armed
	Warnings []string
}

// Slot is what a slot holds.
type Slot struct{ Name, Content, Version, Image, Reference, Problem string }

// Bad is an image whose trial failed with evidence.
type Bad struct{ Version, Image, Reason string }

// Attempt is what became of an attempt.
type Attempt struct {
	Text             string // in one line
	Confirmed        bool
	Staging, Reached string
	Panic, Log       string // of its kernel, when it died
}

// Print prints s, a line for each thing. Of a kernel's log it prints the whole, or a few lines.
func (s Status) Print(w *terminal.Printer, whole bool) {
	w.Printf("%s\n", s.headline())
	var rows [][]string
	row := func(name, text string, more ...string) {
		if text != "" {
			rows = append(rows, append([]string{name, text}, more...))
		}
	}
	each := func(name string, texts []string) {
		for _, text := range texts {
			row(name, text)
		}
	}
	for _, slot := range s.Slots {
		row("slot "+slot.Name, slot.String(), strings.Join(s.roles(slot.Name), ", "))
	}
	row("loader", s.Loader)
	if a := s.Attempt; a != nil {
		row("attempt", a.Text)
		row("staging", a.Staging)
		if !a.Confirmed {
			row("reached", a.Reached)
		}
		for i, line := range a.lastWords(s.Program, whole) {
			rows = append(rows, []string{[]string{"kernel", ""}[min(i, 1)], line})
		}
	}
	row("operation", s.Operation)
	row("check", s.Check)
	if s.Unordered != "" {
		row("unordered", fmt.Sprintf("%s; it is not confirmed by itself (`%[2]s confirm` keeps it, `%[2]s rollback` "+
			"goes back)", s.Unordered, s.Program))
	}
	if s.OwnChecks && s.Trial {
		row("checks", "only Pawl's own: this version is confirmed once the service can read its machine")
	}
	row("watchdog", s.Watchdog)
	for _, b := range s.KnownBad {
		row("bad", fmt.Sprintf("%s %s: %s", b.Version, Short(b.Image), b.Reason))
	}
	row("blocked", s.Blocked)
	row("problem", s.Problem)
	for _, text := range s.Undoing {
		row("to undo", text+" (it is tried again)")
	}
	each("note", s.Notes)
	each("warning", s.Warnings)
	w.Rows("  ", rows)
}

// headline says what runs, and how firmly.
func (s Status) headline() string {
	text := cmp.Or(s.Version, "an unknown version")
	if s.Node != "" {
		text = s.Node + ": " + text
	}
	if s.Active != "" {
		text += " in slot " + s.Active
	}
	return fmt.Sprintf("%s, %s (boot %s)", text, s.standing(), cmp.Or(s.Boot, "not known"))
}

func (s Status) standing() string {
	switch {
	case s.Active == "":
		return "slot not known"
	case s.Unordered != "":
		return "not confirmed, and ordered by no attempt"
	case s.GivenUp != "" && s.Trial:
		return "on trial, given up: " + s.GivenUp
	case s.Trial:
		return "on trial"
	}
	return "confirmed"
}

// String is what a slot holds, in one line.
func (s Slot) String() string {
	what := []string{s.Content, s.Version, Short(s.Image), s.Reference}
	if s.Problem != "" {
		what = []string{s.Content, "(" + s.Problem + ")"}
	}
	return strings.Join(slices.DeleteFunc(what, func(s string) bool { return s == "" }), " ")
}

// roles are what a slot is at the moment.
func (s Status) roles(slot string) (roles []string) {
	if s.Active == slot {
		roles = append(roles, "active")
	}
	if s.Default == slot {
		roles = append(roles, "default")
	}
	if s.Armed == slot {
		by := ""
		if s.ArmedBy != "" {
			by = " by " + s.ArmedBy
		}
		roles = append(roles, fmt.Sprintf("armed for %d boot(s)%s", s.Tries, by))
	}
	return roles
}

// lastLines is how much of a kernel's log is shown when not all of it is asked for.
const lastLines = 6

// lastWords is what is shown of the log of a failed trial's kernel: all that is kept, or from its panic on a few lines.
func (a Attempt) lastWords(program string, whole bool) []string {
	if a.Log == "" {
		return nil
	}
	lines := strings.Split(a.Log, "\n")
	if whole || len(lines) <= lastLines {
		return lines
	}
	from := len(lines) - lastLines
	for i, line := range lines {
		if a.Panic != "" && strings.Contains(line, a.Panic) {
			from = min(i, from)
			break
		}
	}
	return append(lines[from:from+lastLines:from+lastLines], fmt.Sprintf("... (all of it: %s status --log)", program))
}
