package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// attempt reads the latest attempt; nil if none was ever made.
func (m *Machine) attempt() (*attempt.Attempt, error) {
	var a attempt.Attempt
	found, err := m.value(meta.TagAttempt, &a)
	if err != nil || !found {
		return nil, err
	}
	return &a, nil
}

// knownBad reads the digests that META remembers as bad.
func (m *Machine) knownBad() ([]attempt.Bad, error) {
	var bad []attempt.Bad
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
		return false, fmt.Errorf("read META tag %#x: %w: %w (delete it, or make META empty)", tag, attempt.ErrRecord,
			err)
	}
	return true, nil
}

// record writes a as the latest attempt, and the list of bad images, if it changes, in the same update of META: bad
// joins it, and an image that was confirmed leaves it.
func (m *Machine) record(a *attempt.Attempt, bad *attempt.Bad) error {
	if m.metaErr != nil {
		return m.metaErr
	}
	a.Changed = m.now().UTC().Truncate(time.Second)
	data, err := a.Encode()
	if err != nil {
		return err
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
		return fmt.Errorf("record attempt %s in META: %w", a.State, err)
	}
	return nil
}

// judged is the list of bad images with a and bad, encoded; nil if it stays as it is.
func (m *Machine) judged(a *attempt.Attempt, bad *attempt.Bad) ([]byte, error) {
	confirmed := a.State == attempt.Ended && a.Result == attempt.Confirmed
	if bad == nil && !confirmed {
		return nil, nil
	}
	known, err := m.knownBad()
	left := without(known, a.Image)
	switch {
	case bad == nil && len(left) == len(known):
		return nil, nil // also when it cannot be read
	case err != nil:
		m.log.Warn("the list of known-bad images is started anew", "reason", err)
	}
	if bad != nil {
		left = append(left, *bad)
	}
	return attempt.EncodeBad(left)
}

// without is a list of bad images without one of them.
func without(list []attempt.Bad, image string) []attempt.Bad {
	return slices.DeleteFunc(slices.Clone(list), func(b attempt.Bad) bool { return b.Image == image })
}

// Mark replaces the latest attempt's marks, by one update of META.
func (m *Machine) Mark(marks []attempt.Mark) error {
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("mark the attempt: %w", err)
	case a == nil:
		return fmt.Errorf("mark the attempt: META holds none")
	}
	a.Marks = marks
	if err := m.record(a, nil); err != nil {
		return fmt.Errorf("mark the attempt: %w", err)
	}
	return nil
}
