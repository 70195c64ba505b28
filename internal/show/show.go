// Package show is how both commands show plans and diagnoses: `pawl` as a node tells them, `installer` as the machine
// does.
package show

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/terminal"
)

// Diagnosis is what a doctor found.
type Diagnosis struct {
	Boots    []Boot
	Assumes  []string
	Findings []Finding
}

// Boot is what a boot will start. Without a slot it starts something else, at Path, or nothing, for what Stuck says.
type Boot struct {
	Slot, Version, Path, Stuck string
	Trial                      bool
	Why                        []string
}

// Finding is one thing that was looked at.
type Finding struct {
	Severity, About, Text, Do string
	By                        string // the command that does it; empty for none
}

// severities are those of findings, the worst first.
var severities = []string{"broken", "degraded", "fine"}

// Print prints the diagnosis, a line for each thing, the worst findings first.
func (d Diagnosis) Print(w *terminal.Printer, indent string) {
	for i, b := range d.Boots {
		why := ""
		if len(b.Why) > 0 {
			why = ": " + strings.Join(b.Why, " ")
		}
		w.Printf("%sboot %d: %s%s\n", indent, i+1, b.what(), why)
	}
	for _, text := range d.Assumes {
		w.Printf("%sassumed: %s\n", indent, text)
	}
	for _, severity := range severities {
		for _, f := range d.Findings {
			if f.Severity != severity {
				continue
			}
			do := ""
			if f.Do != "" {
				do = " Do: " + f.way() + "."
			}
			w.Printf("%s%s: %s: %s%s\n", indent, f.Severity, f.About, f.Text, do)
		}
	}
}

// way is what to do, with the command that does it.
func (f Finding) way() string {
	if f.By == "" {
		return f.Do
	}
	return fmt.Sprintf("%s (%s)", f.Do, f.By)
}

func (b Boot) what() string {
	switch {
	case b.Stuck != "":
		return "nothing runs, " + b.Stuck
	case b.Slot == "":
		return b.Path
	}
	text := fmt.Sprintf("slot %s, %s", b.Slot, cmp.Or(b.Version, "version not known"))
	if b.Trial {
		text += ", trial"
	}
	return text
}

// Plan is what an upgrade would do.
type Plan struct {
	Kind, From, To, Old, Version string
	Image, Reference             string
	Bytes, Room                  int64    // that the files take, of those that the slot can hold; 0 if not known
	Fetch                        []string // how it is downloaded, a line each, if that is known
	Lost                         string   // version in the slot that is written
	Preserve                     bool
	Steps, Warnings              []string
}

// String is the plan in one line.
func (p Plan) String() string {
	return fmt.Sprintf("%s from %s (slot %s) to %s (slot %s)", p.Kind, p.Old, p.From, cmp.Or(p.Version, Short(p.Image)),
		p.To)
}

// Print prints all but what String says.
func (p Plan) Print(w *terminal.Printer, indent string) {
	line := func(format string, args ...any) { w.Printf("%s%s\n", indent, fmt.Sprintf(format, args...)) }
	line("image: %s (%s)", p.Image, cmp.Or(p.Reference, "no reference"))
	if p.Bytes > 0 {
		line("writes: %s of the %s that slot %s can hold", bytesize.Text(p.Bytes), bytesize.Text(p.Room), p.To)
	}
	for _, text := range p.Fetch {
		line("%s", text)
	}
	if p.Lost != "" {
		line("lost: version %s in slot %s is gone once this begins", p.Lost, p.To)
	}
	if p.Preserve {
		line("keeps: EPHEMERAL")
	} else {
		line("wipes: EPHEMERAL, in the trial boot (--preserve keeps it)")
	}
	line("steps: %s", strings.Join(p.Steps, ", "))
	for _, text := range p.Warnings {
		line("warning: %s", text)
	}
}

// Short is a digest as much as a person compares.
func Short(digest string) string {
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
		return algorithm + ":" + hex[:12]
	}
	return digest
}
