package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pawl-os/pawl/partition/disktest"
)

// tally counts the mutants of one kind.
type tally struct {
	Made, Caught int            // Caught of those that differ from the real program in what can be left
	Same         int            // leave nothing that the real program does not leave
	Needless     map[string]int // leave something else, which breaks nothing, for a reason of reasons.go
}

const wipeOrder = "the ranges that a wipe clears may go in any order; META says that it is done after all of them"

const shimAway = "the shim goes first, so firmware passes over what is behind it and takes the copy; it comes back " +
	"last, with the bytes that it had"

const noManifest = "the target had no manifest before, so nothing in it counted"

// because says why an order or a flush is not needed for the promise, where that is known and was thought through. A
// mutant that is neither caught nor covered here has escaped.
func (m mutant) because(r *recorded) string {
	op := r.op.name
	if m.step != "" {
		switch {
		case (m.step == "clear" || strings.HasPrefix(m.step, "killed in ")) && r.bare(m.at):
			return noManifest
		case op == replaceBehindShim && m.step == "loader" && r.noShim(m.at):
			return shimAway
		case m.pair[0].kind == ephemeral && m.pair[1].kind == ephemeral:
			return wipeOrder
		case m.pair[0].kind == metaTwo && m.pair[1].kind == metaTwo:
			return "META's copy 2 is written again before copy 1 is, and copy 1 decides until then"
		case op == "META reset":
			return "META was destroyed before, so there is nothing to lose"
		case m.pair[0].step == bootStep:
			return "what GRUB wrote before the system ran goes with the next flush, and nothing relies on it before"
		case r.op.loader && r.loaders.old == nil:
			return "there was no loader in the directory before, and the copy starts the machine until there is one"
		case m.step == "layout":
			return "an empty disk has nothing to lose, and nothing boots before the loader is there; on a disk that " +
				"holds something these packages promise more"
		case m.step == "write" || m.step == "complete":
			return "closing a file makes it durable, so that the read-back reads the medium; the next file's flush " +
				"comes before anything refers to either"
		case m.step == "prepare":
			return "META's flush follows, and flushes the whole disk in this model; a partition that is a device of " +
				"its own needs both"
		case m.step == "confirm":
			return "each overwritten sector is flushed by itself; the sort keys decide only once loader.conf is " +
				"destroyed, and each mix of them was judged"
		}
		return ""
	}
	a, b := m.pair[0], m.pair[1]
	early := func(p part) bool { return p.step == "write" || p.step == "complete" || p.step == "prepare" }
	either := func(kind string) bool { return a.kind == kind || b.kind == kind }
	switch {
	case op == replaceBehindShim && a.step == "loader" && b.step == "loader" && r.noShim(m.at):
		return shimAway
	case either(probe):
		return "nothing reads that variable: it asks whether the others have room, and is gone before they are written"
	case r.op.loader && a.step == "try" && b.kind == bootNext:
		return "firmware passes over a BootNext that names no variable, and what it starts once needs no place in BootOrder"
	case (a.step == "clear" || strings.HasPrefix(a.step, "killed in ")) && b.step != "complete" && r.bare(m.at):
		return noManifest
	case a.step == "clear" && a.kind == directory && (b.step == "clear" || b.step == "write") && r.holdsNone(m.at+1):
		return "the manifest is in neither, and nothing in the target counts without it"
	case a.kind == tableOne && b.kind == tableOne && (b.step == "write" || b.step == "clear"):
		return "the sector is written again, whole, with the manifest's chain, and flushed before the manifest is there"
	case op == "META reset":
		return "META was destroyed before, so there is nothing to lose"
	case a.kind == ephemeral && b.kind == ephemeral:
		return wipeOrder
	case r.op.loader && a.kind == bootOption && b.kind == bootOrder:
		return "firmware passes over a number in BootOrder without a variable, and the file is touched when both are " +
			"there"
	case either(tableTwo):
		return "nothing is decided by the second table"
	case either(metaTwo):
		return "META's copy 2 decides only where copy 1 is not valid"
	case a.step == "write" && a.kind == content && b.step != "write":
		return "" // the file would be there before its content
	case early(a) && early(b) && a.kind != metaOne && b.kind != metaOne:
		return "both are on the medium before the target is armed, and nothing calls it complete in between"
	case a.step == "confirm" && b.step == "confirm" && decides(a.kind) && decides(b.kind):
		return "both slots are complete when one is confirmed, a copy of the default is whole while the other is " +
			"written, and a slot that is the default is on trial no more"
	case a.step == "confirm" && b.step == "confirm" && (a.kind == entry || b.kind == entry):
		return "the sort keys decide only once loader.conf is destroyed, and each mix of them was judged"
	}
	return ""
}

// What view.kind calls a boot option, the order of them, the next one, and the variable that asks for room.
const bootOption, bootOrder, bootNext, probe = "Boot####", "BootOrder", "BootNext", "PawlProbe"

// decides reports whether GRUB takes from a block what boots.
func decides(kind string) bool { return kind == standing || kind == trial }

// bare reports whether the target had no manifest on the medium when the step began that holds the operation at i, or
// at the flush before it.
func (r *recorded) bare(i int) bool {
	step, flushed := i, i
	for step > 0 && r.trace.Ops[step-1].Step == r.trace.Ops[i].Step {
		step--
	}
	for flushed > 0 && r.trace.Ops[flushed-1].Action != disktest.Flush {
		flushed--
	}
	return r.holdsNone(max(step, flushed))
}

// noShim reports whether firmware finds no shim once the operation of the trace at i has arrived.
func (r *recorded) noShim(i int) bool {
	m := newMachine(r.from.kit, r.trace.After(i+1), r.from.vars.Clone())
	f, err := m.fs(slotZones...)
	if err != nil {
		return false
	}
	_, err = f.Stat(loaderFile)
	return errors.Is(err, fs.ErrNotExist)
}

// holdsNone reports whether the target has no manifest once n operations of the trace have arrived.
func (r *recorded) holdsNone(n int) bool {
	m := newMachine(r.from.kit, r.trace.After(n), r.from.vars.Clone())
	held, err := m.holds(r.from.last.Slot.Other())
	return err == nil && held == nil
}

// mutate makes the mutants of a trace and counts what becomes of them.
func (p *proof) mutate(r *recorded, swaps bool) error {
	if p.Short && r.op.name != "upgrade" && r.op.name != "confirm" {
		return nil
	}
	for _, damaged := range r.damaged {
		if damaged {
			// the judge cannot hold such a slot against its manifest, and would miss what it catches from the other
			// starts
			return nil
		}
	}
	known, err := r.states(p.Seed)
	if err != nil {
		return err
	}
	kinds := map[string][]mutant{"flush dropped": r.flushes()}
	if swaps {
		list, skipped := r.swaps()
		kinds["writes exchanged"] = list
		p.tally("writes exchanged", func(t *tally) { t.Made += skipped; t.Same += skipped })
	}
	for kind, list := range kinds {
		for _, m := range list {
			f, err := r.try(m, known, p.Seed)
			if f != caught && err != nil {
				return err
			}
			p.fate(kind, r, m, f)
		}
	}
	return nil
}

func (p *proof) fate(kind string, r *recorded, m mutant, f fate) {
	why := m.because(r)
	if f == harmless && why == "" {
		p.escape(fmt.Sprintf("%v: %s", r, m.name))
	}
	p.tally(kind, func(t *tally) {
		t.Made++
		switch {
		case f == caught:
			t.Caught++
		case f == same:
			t.Same++
		case why != "":
			t.Needless[why]++
		}
	})
}

func (p *proof) tally(kind string, change func(*tally)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mutants[kind] == nil {
		p.mutants[kind] = &tally{Needless: map[string]int{}}
	}
	change(p.mutants[kind])
}

func (p *proof) escape(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.escaped = append(p.escaped, name)
	p.say("ESCAPED %s", name)
}
