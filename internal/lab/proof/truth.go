package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// whole looks at the slots that a cut left, on disks on which nothing was destroyed: a slot with a manifest holds what
// that says, from the first byte to the last. Without one it may hold anything, as a download that was cut off does.
func (r *recorded) whole(c *disktest.Crash) error {
	if r.fresh() {
		return nil
	}
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	for _, s := range bootloader.Slots() {
		if r.damaged[s] {
			continue
		}
		if err := m.intact(s); err != nil {
			return fmt.Errorf("slot %v: %w", s, err)
		}
	}
	return nil
}

// intact reads a slot: its directory, and with a manifest its files.
func (m *machine) intact(s bootloader.Slot) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	if _, err := f.ReadDir(s.Dir()); err != nil {
		return err
	}
	held, err := m.holds(s)
	if err != nil || held == nil {
		return err
	}
	for name, sum := range held.files {
		data, err := f.ReadFile(s.File(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // the slot is partial, and everybody can see it
		case err != nil:
			return err
		case hash(data) != sum:
			return fmt.Errorf("it has the manifest of version %s, and its %s is another (%q)", held.version, name,
				m.kit.Version(hash(data)))
		}
	}
	return m.hasRoot(held)
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// complete reads both slots as the product sees them: what it calls complete must be what its manifest says, byte for
// byte; the default always is.
func (r *recorded) complete(m *machine, s report.Status, destroyed bool) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	for _, slot := range s.Loader.Bootable {
		if have := s.Slots[slices.Index(bootloader.Slots(), slot)]; have.Content != report.Complete && !destroyed &&
			!r.damaged[slot] {
			return fmt.Errorf("the loader may boot slot %v, which is %s: %s", slot, have.Content, have.Problem)
		}
	}
	for _, slot := range s.Slots {
		if slot.Content != report.Complete {
			if slot.Slot == m.last.Slot {
				return fmt.Errorf("slot %v runs and is %s: %s", slot.Slot, slot.Content, slot.Problem)
			}
			continue
		}
		for _, file := range slot.Manifest.Files {
			data, err := f.ReadFile(slot.Slot.File(file.Name))
			switch {
			case err == nil && hash(data) == file.SHA256:
			case slot.Slot != m.last.Slot && (destroyed || r.damaged[slot.Slot] || r.liar):
				// A block of a slot that is being cleared was destroyed, or it was damaged before: the read-back finds
				// it.
			default:
				return fmt.Errorf("slot %v is called complete, and %s is not what its manifest says: %v", slot.Slot,
					file.Name, err)
			}
		}
		held, err := m.holds(slot.Slot)
		if err == nil {
			err = m.hasRoot(held)
		}
		if err != nil && (slot.Slot == m.last.Slot || !destroyed && !r.damaged[slot.Slot] && !r.liar) {
			return fmt.Errorf("slot %v is called complete: %w", slot.Slot, err)
		}
	}
	if s := s.Slots[slices.Index(bootloader.Slots(), m.last.Slot)]; m.kit.Root && len(s.Manifest.Images) != 1 {
		return fmt.Errorf("slot %v runs, and its manifest lists %d images", s.Slot, len(s.Manifest.Images))
	}
	for name, data := range others {
		got, err := f.ReadFile(name)
		if err != nil || !bytes.Equal(got, data) {
			return fmt.Errorf("%s is not as it was: %v", name, err)
		}
	}
	return nil
}

// truth boots the crash disk, lets the system say what it makes of it, and compares that with what happened.
func (r *recorded) truth(c *disktest.Crash) (*machine, label, error) {
	m, err := r.from.crashed(c)
	if err != nil {
		return nil, 0, err
	}
	text, was, wasBad, metaErr, err := m.latest()
	if err != nil {
		return nil, 0, err
	}
	if err := m.boot(); err != nil {
		return nil, 0, err
	}
	l, err := r.labels(m)
	if err != nil || l == none {
		return m, l, err
	}
	b, err := m.started()
	if err != nil {
		return m, l, fmt.Errorf("started: %w", err)
	}
	var s report.Status
	err = m.with(func(sys *upgrade.Machine) error { s, err = sys.Status(); return err })
	if err != nil {
		return m, l, fmt.Errorf("status: %w", err)
	}
	if !r.fresh() {
		destroyed, _ := c.Destroyed()
		if err := r.complete(m, s, destroyed); err != nil {
			return m, l, err
		}
	}
	if s.Loader.Active != m.last.Slot {
		return m, l, fmt.Errorf("slot %v runs, status says %v", m.last.Slot, s.Loader.Active)
	}
	if l&theArmed != 0 && r.op.end == changes && m.runs(r.new) && s.Loader.Default == m.last.Slot {
		l = theNew // the power was cut before the new default was disarmed: it was armed for the tries that were left
	}
	onTrial := l&(theTrial|theArmed) != 0
	if r.fresh() && b.Trial {
		return m, l, nil // the install was cut before its own confirm; the system confirms itself and finishes it
	}
	if onTrial && r.op.noMeta && metaErr == nil && text == "" {
		// META was made anew, and knows of no attempt that ordered this boot.
		if b.Trial || b.Unordered == "" || s.Unordered == "" {
			return m, l, fmt.Errorf("%v boots, ordered by no attempt, and the system takes itself for on trial: %v", l, b.Trial)
		}
		return m, l, nil
	}
	if b.Trial != onTrial || s.Loader.Trial() != onTrial {
		return m, l, fmt.Errorf("%v boots, the system takes itself for on trial: %v", l, b.Trial)
	}
	more := m.armedSlot(r.counts)
	if r.op.byWay {
		if more, err = m.triesNext(); err != nil {
			return m, l, err
		}
	}
	if m.kit.grub() && more == m.last.Slot && !m.last.Trial {
		more = bootloader.None // what is left of the count of a slot that is the default by now
	}
	if s.Loader.Armed != more && !r.fresh() || more != bootloader.None && !onTrial {
		return m, l, fmt.Errorf("slot %v is armed after the boot, and status says %v", more, s.Loader.Armed)
	}
	if metaErr != nil {
		if !r.op.noMeta && !r.fresh() {
			return m, l, metaErr
		}
		return m, l, nil
	}
	if l&theTrial != 0 {
		if err := r.silent(c); err != nil {
			return m, l, err
		}
	}
	return m, l, r.told(m, l, was, wasBad, b, s)
}

// latest is the attempt that META holds, as text and read, and whether its image is known to be bad. metaErr is why
// META cannot be read.
func (m *machine) latest() (text string, a attempt.Attempt, bad bool, metaErr, err error) {
	text, values, metaErr := readMeta(m.disk)
	if metaErr != nil || text == "" {
		return text, a, false, metaErr, nil
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return "", a, false, nil, err
	}
	list, err := values.Value(meta.TagBadDigests)
	return text, a, err == nil && strings.Contains(string(list), a.Image), nil, nil
}

// silent lets the trial die before it says a word: the old version must say that it fell back, and hold nothing against
// it.
func (r *recorded) silent(c *disktest.Crash) error {
	m, err := r.from.crashed(c)
	if err != nil || r.op.noMeta {
		return err
	}
	for m.last.Trial || m.last.Path == "" {
		if err := m.boot(); err != nil {
			return err
		}
	}
	b, err := m.started()
	if err != nil {
		return err
	}
	if !b.Ended || b.Attempt == nil || b.Attempt.Result != attempt.FellBack || b.Attempt.Reason != attempt.NotKnown {
		return fmt.Errorf("a trial died before it said a word, and the record says %v", b.Attempt)
	}
	return nil
}

// told compares the attempt on record with what happened.
func (r *recorded) told(m *machine, l label, was attempt.Attempt, wasBad bool, b upgrade.Boot, s report.Status) error {
	runs, err := m.running()
	if err != nil {
		return err
	}
	bad := false
	for _, b := range s.KnownBad {
		bad = bad || b.Image == was.Image
	}
	var is attempt.Attempt
	if s.Attempt != nil {
		is = *s.Attempt
	}
	says := func(state attempt.State, result attempt.Result) error {
		if is.State != state || is.Result != result {
			return fmt.Errorf("%v boots, META held %q; the record says %q, want %s %s", l, was.String(), is.String(),
				state, result)
		}
		return nil
	}
	switch {
	case l&(theTrial|theArmed) != 0:
		if r.op.noMeta {
			return nil
		}
		if b.Attempt == nil || is.Image != runs.image || is.To != runs.slot {
			return fmt.Errorf("%v boots, and META knows nothing of it: %q", l, is.String())
		}
		return says(attempt.Started, "")
	case was.ID == "" && was.State == "" || was.State == attempt.Ended:
		if is.ID != was.ID || is.State != was.State || is.Result != was.Result || is.Reason != was.Reason {
			return fmt.Errorf("an attempt that was over changed from %q to %q", was.String(), is.String())
		}
		return nil
	case was.To == runs.slot:
		return says(attempt.Ended, attempt.Confirmed)
	case was.State == attempt.Prepared:
		return says(attempt.Ended, attempt.Abandoned)
	case was.State == attempt.Armed:
		if bad && !wasBad || is.Reason != attempt.NotKnown && !strings.HasPrefix(is.Reason, "GRUB did not ") {
			return fmt.Errorf("a version that is not known to have started is held against: %q", is.String())
		}
		return says(attempt.Ended, attempt.FellBack)
	}
	if !bad {
		return fmt.Errorf("a version started and fell back, and is not known as bad: %q", is.String())
	}
	return says(attempt.Ended, attempt.FellBack)
}
