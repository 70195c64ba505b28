// Package attempt is what META records of attempts to move to a version, and of images that failed their trial.
//
// Start with [Attempt]. META explains and decides nothing: what boots is the loader's. Package upgrade reads and writes
// these records; whoever watches a machine reads them.
package attempt

import (
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
)

// State is how far an attempt has come.
type State string

// Phases, in order.
const (
	Prepared State = "prepared" // the target is complete and the loader knows of it
	Staged   State = "staged"   // as prepared, and the next boot is to arm it
	Armed    State = "armed"    // the next boot is to be the trial
	Started  State = "started"  // the new version has run far enough to say so
	Ended    State = "ended"    // see Result
)

// Result is how an attempt ended.
type Result string

// Results.
const (
	Confirmed Result = "confirmed"
	FellBack  Result = "fell back"
	Abandoned Result = "abandoned"
)

// Kind is what an attempt does.
type Kind string

// Kinds.
const (
	Upgrade  Kind = "upgrade"  // write an image into the target, then try it
	Rollback Kind = "rollback" // try what the other slot already holds
)

// NotKnown is the reason of an attempt that fell back without a sign that the new version ever ran.
const NotKnown = "the new version is not known to have started"

// Attempt is one try to move to a version, as META records it. META explains; it decides nothing.
type Attempt struct {
	ID        string          `json:"id"` // random, 16 hex digits
	Kind      Kind            `json:"kind"`
	State     State           `json:"phase"`
	Result    Result          `json:"result,omitempty"` // once Phase is Ended
	Reason    string          `json:"reason,omitempty"` // why it fell back or was abandoned, as far as known
	From      bootloader.Slot `json:"from"`
	To        bootloader.Slot `json:"to"`
	Old       string          `json:"old"`                 // version that From holds
	Version   string          `json:"version"`             // version that To holds
	Image     string          `json:"image"`               // digest of the installer image in To
	Reference string          `json:"reference,omitempty"` // what the operator asked for
	Preserve  bool            `json:"preserve,omitempty"`  // EPHEMERAL is kept
	Wiped     bool            `json:"wiped,omitempty"`     // EPHEMERAL has been wiped by the trial
	Stage     bool            `json:"stage,omitempty"`     // it was staged: see Staging
	Applying  int             `json:"applying,omitempty"`  // boots that have begun to apply it, once staged
	Tries     int             `json:"tries,omitempty"`     // boots that its trial gets; 0 is 1
	Way       string          `json:"trial,omitempty"`     // the way in which it is tried; "" is the loader's usual one
	Trials    int             `json:"trials,omitempty"`    // boots of its trial that have begun
	Forced    bool            `json:"forced,omitempty"`    // it was ordered although something spoke against it
	Foreseen  string          `json:"foreseen,omitempty"`  // why it was not to start, as the rehearsal had it
	Kexec     bool            `json:"kexec,omitempty"`     // its trial is started by kexec, once
	Mode      string          `json:"mode,omitempty"`      // how its restarts go; the node service's word
	Marks     []Mark          `json:"marks,omitempty"`     // what the node service has to undo
	// how far its trial came, in its last boot: see upgrade.Machine.Reached
	Reached string    `json:"reached,omitempty"`
	Crash   *Crash    `json:"crash,omitempty"` // what the kernel of a failed trial left
	Seen    []string  `json:"seen,omitempty"`  // ids of what other kernels had left when it was armed
	Boots   Boots     `json:"boots"`
	Begun   time.Time `json:"begun"`
	Changed time.Time `json:"changed"`
}

// Boots are the boot ids (/proc/sys/kernel/random/boot_id) in which an attempt reached its phases.
type Boots struct {
	Prepared string `json:"prepared,omitempty"`
	Started  string `json:"started,omitempty"`
	Ended    string `json:"ended,omitempty"`
}

// Left is how many boots its trial may still get.
func (a Attempt) Left() int {
	if a.Kexec {
		return max(1-a.Trials, 0)
	}
	return max(max(a.Tries, 1)-a.Trials, 0)
}

// Open reports whether the attempt has yet to end.
func (a Attempt) Open() bool { return a.State != Ended }

// String says what became of the attempt, for people.
func (a Attempt) String() string {
	s := fmt.Sprintf("%s from %s (slot %s) to %s (slot %s): ", a.Kind, a.Old, a.From, a.Version, a.To)
	if a.State == Ended {
		s += string(a.Result)
	} else {
		s += string(a.State)
	}
	if a.Reason != "" {
		s += ": " + a.Reason
	}
	return s
}

// Bad is an image whose trial failed with evidence.
type Bad struct {
	Image   string    `json:"image"`
	Version string    `json:"version"`
	Reason  string    `json:"reason"`
	When    time.Time `json:"when"`
}

// Cancelled is the reason of a staged upgrade that was given up by hand.
const Cancelled = "cancelled by hand"

// Staging says in a few words what became of a staged upgrade: "staged", "applying N", "done", "cancelled by hand" or
// "failed: " and the reason. It is empty for an attempt that was not staged.
func (a Attempt) Staging() string {
	switch {
	case !a.Stage:
		return ""
	case a.State == Staged && a.Applying == 0:
		return "staged"
	case a.Open():
		return fmt.Sprintf("applying %d", a.Applying)
	case a.Result == Confirmed:
		return "done"
	case a.Reason == Cancelled:
		return Cancelled
	}
	return "failed: " + a.Reason
}

// Mark is a note of the node service on the attempt: a phase that disturbed the machine and is to be undone. It is
// written before the phase begins, so that a phase which a crash cut short is undone too.
type Mark struct {
	Phase string `json:"phase"`
	Boot  string `json:"boot"`           // boot id
	Ours  bool   `json:"ours,omitempty"` // the phase came to its end, and it was not so before
}
