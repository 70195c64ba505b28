package deaths

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Death is one way to die.
type Death struct {
	Name           string
	how            string                 // what 2.0.0 does; empty: it is good
	to             func(*armedDisk) error // what happens to the disk while the machine is off
	forget         bool                   // the firmware loses its variables
	cut            string                 // the event of the trial at which power fails, once
	halts          bool                   // some kernels halt then, without a word
	needsVariables bool
	expect         func(Cell) []ending // any of them
}

// ending is where a machine ends, and what is known there.
type ending struct {
	slot   string
	result string // of the attempt; empty: META has none
	reason string // contained in it
	bad    bool   // the image is remembered
	log    string // contained in what is kept of the kernel's log; empty: nothing is
	trials int    // starts of the target; -1: nobody counts them
	cycles int    // how often somebody had to cycle the power
}

const (
	notKnown  = attempt.NotKnown
	uncounted = -1
)

func grub(c Cell) bool { return c.Loader != loaders.SystemdBoot }

// counts tells that the loader counts by itself, on the disk. With a one-shot entry, a trial arms the next one once it
// has started.
func counts(c Cell) bool { return grub(c) || c.Way != "" }

// starts is how often a target that never says that it started is started, where the loader tells.
func starts(c Cell) int {
	if grub(c) {
		return c.Tries
	}
	return uncounted
}

func one(e ending) func(Cell) []ending { return func(Cell) []ending { return []ending{e} } }

// silent is an attempt that ended before the new version could say a word.
func silent(c Cell) []ending {
	return []ending{{slot: "A", result: "fell back", reason: notKnown, trials: starts(c)}}
}

// wordless is one that said that it started, and no more.
func wordless(c Cell) []ending {
	reason := "the new version started, then ended without a word"
	if c.Tries > 1 {
		reason = fmt.Sprintf("the new version started %d times, then ended without a word", c.Tries)
	}
	return []ending{{slot: "A", result: "fell back", reason: reason, bad: true, trials: c.Tries}}
}

var confirmed = ending{slot: "B", result: "confirmed", trials: uncounted}

// deaths are the rows of the matrix.
var deaths = []Death{
	{Name: "missing", to: (*armedDisk).remove, expect: func(c Cell) []ending {
		if grub(c) { // the default boots at once
			return []ending{{slot: "A", result: "fell back", reason: "GRUB did not find all files of slot B"}}
		}
		return silent(c)
	}},
	{Name: "truncated", to: (*armedDisk).truncate, halts: true, expect: func(c Cell) []ending {
		all := silent(c)
		if grub(c) { // such a kernel is started, cannot unpack itself, and halts
			all = append(all, ending{slot: "A", result: "fell back", reason: notKnown, trials: c.Tries,
				cycles: c.Tries})
		}
		return all
	}},
	{Name: "corrupt", to: (*armedDisk).corrupt, expect: silent},
	{Name: "initramfs corrupt", to: (*armedDisk).corruptInitramfs, expect: silent},
	{Name: "kernel panic", how: "panic", expect: func(c Cell) []ending {
		e := wordless(c)
		if c.Loader != loaders.GRUBBIOS { // the firmware's variables keep the log
			e[0].reason, e[0].log = "then its kernel panicked: sysrq triggered crash",
				"Kernel panic - not syncing: sysrq triggered crash"
		}
		return e
	}},
	{Name: "PID 1 exits", how: "exit", expect: func(c Cell) []ending {
		e := silent(c)
		if c.Loader != loaders.GRUBBIOS {
			e[0].reason, e[0].log, e[0].bad = "its kernel panicked before it said that it started: Attempted to kill "+
				"init!", "Kernel panic - not syncing: Attempted to kill init!", true
		}
		return e
	}},
	{Name: "hang after the watchdog runs", how: "hang", expect: wordless},
	{Name: "hang before a watchdog", how: "hang-early", expect: func(c Cell) []ending {
		e := silent(c)
		if e[0].cycles = 1; counts(c) {
			e[0].cycles = c.Tries
		}
		return e
	}},
	{Name: "check fails", how: "check-fails", expect: one(ending{
		slot: "A", result: "fell back", reason: "the self-check failed, as this version was built to", bad: true,
		trials: 1,
	})},
	{Name: "check never answers", how: "check-hangs", expect: func(c Cell) []ending {
		// The check's end and the trial's come at the same moment: either may tell it.
		return []ending{{slot: "A", result: "fell back", reason: `check "self"`, bad: true, trials: c.Tries}}
	}},
	{Name: "power cut during the trial", cut: "boot", expect: func(c Cell) []ending {
		if c.Tries > 1 {
			return []ending{confirmed}
		}
		return wordless(c)
	}},
	{Name: "power cut during confirm", how: "confirm", cut: "confirm", expect: func(c Cell) []ending {
		if c.Tries > 1 {
			return []ending{confirmed}
		}
		return append(wordless(c), confirmed)
	}},
	{Name: "variables lost", forget: true, needsVariables: true, expect: func(c Cell) []ending {
		if counts(c) {
			return []ending{confirmed}
		}
		return silent(c)
	}},
	{Name: "META destroyed", to: (*armedDisk).destroyMETA, expect: one(ending{slot: "B", trials: uncounted})},
	{Name: "META destroyed and check fails", to: (*armedDisk).destroyMETA, how: "check-fails",
		expect: one(ending{slot: "A", trials: 1})},
}

// seen is what became of a machine.
type seen struct {
	ending
	version, digest string
}

// String is for the run's table.
func (s seen) String() string {
	text := fmt.Sprintf("slot %s, %s", s.slot, s.version)
	if s.result != "" {
		text += ", " + s.result
	}
	if s.reason != "" {
		text += ": " + s.reason
	}
	if s.bad {
		text += "; known bad"
	}
	if s.log != "" {
		text += fmt.Sprintf("; %d bytes of its log", len(s.log))
	}
	if s.cycles > 0 {
		text += fmt.Sprintf("; power cycled by hand %d times", s.cycles)
	}
	return text
}

// judge says what is not as expected.
func (c Cell) judge(s seen, digests map[string]string) error {
	version := map[string]string{"A": "1.0.0", "B": "2.0.0"}[s.slot]
	if s.version != version || s.digest != digests[version] {
		return fmt.Errorf("slot %s runs %s %s", s.slot, s.version, s.digest)
	}
	var wrong []string
	for _, e := range c.Death.expect(c) {
		switch {
		case s.slot != e.slot:
			wrong = append(wrong, fmt.Sprintf("slot %s, want %s", s.slot, e.slot))
		case s.result != e.result || !strings.Contains(s.reason, e.reason):
			wrong = append(wrong, fmt.Sprintf("%q: %q, want %q: %q", s.result, s.reason, e.result, e.reason))
		case s.bad != e.bad:
			wrong = append(wrong, fmt.Sprintf("known bad: %v, want %v", s.bad, e.bad))
		case !strings.Contains(s.log, e.log) || e.log == "" && s.log != "":
			wrong = append(wrong, fmt.Sprintf("kernel log %q, want %q", s.log, e.log))
		case e.trials != uncounted && s.trials != e.trials:
			wrong = append(wrong, fmt.Sprintf("%d starts of the target, want %d", s.trials, e.trials))
		case s.cycles != e.cycles:
			wrong = append(wrong, fmt.Sprintf("%d power cycles, want %d", s.cycles, e.cycles))
		default:
			return nil
		}
	}
	return fmt.Errorf("%s", strings.Join(wrong, ", or "))
}
