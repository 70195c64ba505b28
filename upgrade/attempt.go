package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/partition/meta"
)

// Phase is how far an attempt has come.
type Phase string

// Phases, in order.
const (
	Prepared Phase = "prepared" // the target is complete and the loader knows of it
	Staged   Phase = "staged"   // as prepared, and the next boot is to arm it
	Armed    Phase = "armed"    // the next boot is to be the trial
	Started  Phase = "started"  // the new version has run far enough to say so
	Ended    Phase = "ended"    // see Result
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
	Phase     Phase           `json:"phase"`
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
	Trial     string          `json:"trial,omitempty"`     // how the loader is had to try it: see Options
	Trials    int             `json:"trials,omitempty"`    // boots of its trial that have begun
	Forced    bool            `json:"forced,omitempty"`    // it was ordered although something spoke against it
	Kexec     bool            `json:"kexec,omitempty"`     // its trial is started by kexec, once
	Mode      string          `json:"mode,omitempty"`      // how its restarts go; the node service's word
	Marks     []Mark          `json:"marks,omitempty"`     // what the node service has to undo
	// how far its trial came, in its last boot: see Machine.Reached
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

// left is how many boots its trial may still get.
func (a Attempt) left() int {
	if a.Kexec {
		return max(1-a.Trials, 0)
	}
	return max(max(a.Tries, 1)-a.Trials, 0)
}

// Open reports whether the attempt has yet to end.
func (a Attempt) Open() bool { return a.Phase != Ended }

// String says what became of the attempt, for people.
func (a Attempt) String() string {
	s := fmt.Sprintf("%s from %s (slot %s) to %s (slot %s): ", a.Kind, a.Old, a.From, a.Version, a.To)
	if a.Phase == Ended {
		s += string(a.Result)
	} else {
		s += string(a.Phase)
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

// maxKnownBad is how many bad digests META remembers; the oldest go first.
const maxKnownBad = 16

// attempt reads the latest attempt; nil if none was ever made.
func (m *Machine) attempt() (*Attempt, error) {
	var a Attempt
	found, err := m.value(meta.TagAttempt, &a)
	if err != nil || !found {
		return nil, err
	}
	return &a, nil
}

// knownBad reads the digests that META remembers as bad.
func (m *Machine) knownBad() ([]Bad, error) {
	var bad []Bad
	_, err := m.value(meta.TagBadDigests, &bad)
	return bad, err
}

func (m *Machine) value(tag uint8, into any) (bool, error) {
	if m.metaErr != nil {
		return false, m.metaErr
	}
	data, err := m.values.Value(tag)
	if errors.Is(err, meta.ErrNoTag) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read META tag %#x: %w", tag, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("read META tag %#x: it is not as Pawl writes it: %w (delete it, or reset META with "+
			"`installer meta reset`)", tag, err)
	}
	return true, nil
}

// What META keeps of each text, in bytes, so that it never runs out of room for the next step of an attempt: after
// arming that would cost a trial.
const (
	maxReason    = 4 << 10
	maxBadReason = 512 // of each of the known-bad images
	maxReference = 1 << 10
	maxWord      = 256
)

// bound cuts what others said.
func (a *Attempt) bound() {
	a.Reason = foreign.Text(a.Reason, maxReason)
	a.Reference = foreign.Text(a.Reference, maxReference)
	for _, s := range []*string{&a.ID, &a.Old, &a.Version, &a.Image, &a.Trial, &a.Mode, &a.Reached, &a.Boots.Prepared,
		&a.Boots.Started, &a.Boots.Ended} {
		*s = foreign.Text(*s, maxWord)
	}
	if c := a.Crash; c != nil {
		c.Panic, c.Log = foreign.Text(c.Panic, maxPanic), foreign.Text(c.Log, maxCrashLog)
	}
}

// record writes a as the latest attempt, and the list of bad images, if it changes, in the same update of META: bad
// joins it, and an image that was confirmed leaves it.
func (m *Machine) record(a *Attempt, bad *Bad) error {
	if m.metaErr != nil {
		return m.metaErr
	}
	a.Changed = m.now().UTC().Truncate(time.Second)
	a.bound()
	if bad != nil {
		bad.Version, bad.Reason = foreign.Text(bad.Version, maxWord), foreign.Text(bad.Reason, maxBadReason)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode attempt: %w", err)
	}
	list, err := m.judged(a, bad)
	if err != nil {
		return err
	}
	err = m.meta.Update(func(v *meta.Values) error {
		if err := v.Set(meta.TagAttempt, data); err != nil {
			return err
		}
		if list == nil {
			return nil
		}
		return v.Set(meta.TagBadDigests, list)
	})
	if err != nil {
		return fmt.Errorf("record attempt %s in META: %w", a.Phase, err)
	}
	return nil
}

// judged is the list of bad images with a and bad, encoded; nil if it stays as it is.
func (m *Machine) judged(a *Attempt, bad *Bad) ([]byte, error) {
	confirmed := a.Phase == Ended && a.Result == Confirmed
	if bad == nil && !confirmed {
		return nil, nil
	}
	known, err := m.knownBad()
	left := slices.DeleteFunc(slices.Clone(known), func(b Bad) bool { return b.Image == a.Image })
	switch {
	case bad == nil && len(left) == len(known):
		return nil, nil // also when it cannot be read
	case err != nil:
		m.log.Warn("the list of known-bad images is started anew", "reason", err)
	}
	if bad != nil {
		left = append(left, *bad)
	}
	data, err := json.Marshal(left[max(0, len(left)-maxKnownBad):])
	if err != nil {
		return nil, fmt.Errorf("encode known-bad images: %w", err)
	}
	return data, nil
}
