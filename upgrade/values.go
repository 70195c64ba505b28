package upgrade

import (
	"fmt"

	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// MetaValues reads META's values, Pawl's own among them.
func (m *Machine) MetaValues() (map[uint8][]byte, error) {
	if m.metaErr != nil {
		return nil, m.metaErr
	}
	values, ok := m.values.(*meta.Values)
	if !ok {
		var err error
		if values, err = m.meta.Values(); err != nil {
			return nil, err
		}
	}
	all := map[uint8][]byte{}
	for _, tag := range values.Tags() {
		value, err := values.Value(tag)
		if err != nil {
			return nil, fmt.Errorf("META value 0x%02x: %w", tag, err)
		}
		all[tag] = value
	}
	return all, nil
}

// SetMetaValue stores a value of the system's own in META, or deletes it if it is nil. What boots does not change.
func (m *Machine) SetMetaValue(tag uint8, value []byte) error {
	err := m.metaErr
	switch {
	case err != nil:
	case meta.Ours(tag):
		err = meta.ErrOurs
	case value != nil:
		err = m.meta.Set(tag, value)
	default:
		if _, err = m.meta.Value(tag); err == nil {
			err = m.meta.Delete(tag)
		}
	}
	if err != nil {
		return fmt.Errorf("META value 0x%02x: %w", tag, err)
	}
	return nil
}

// SetMirror records the second boot file system (package mirror); nil: none.
func (m *Machine) SetMirror(record []byte) error {
	err := m.metaErr
	if err == nil && record != nil {
		err = m.meta.Set(meta.TagMirror, record)
	} else if err == nil {
		err = m.meta.Delete(meta.TagMirror)
	}
	if err != nil {
		return fmt.Errorf("record the second boot file system: %w", err)
	}
	return nil
}

// MarkImage remembers an image, by its digest, as bad; nil: it is good. An attempt to it must not be open. What boots
// does not change.
func (m *Machine) MarkImage(image string, bad *attempt.Bad) error {
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("mark the image: %w", err)
	case bad == nil || a == nil || !a.Open() || a.Image != image:
	case a.State == attempt.Started:
		return fmt.Errorf("mark the image: %w", ErrTrial)
	default:
		return fmt.Errorf("mark the image: the attempt to it is %s: %w", a.State, ErrArmed)
	}
	list, err := m.knownBad()
	if err != nil {
		return fmt.Errorf("mark the image: %w", err)
	}
	if list = without(list, image); bad != nil {
		bad.Image = image
		list = append(list, *bad)
	}
	data, err := attempt.EncodeBad(list)
	if err == nil {
		err = m.meta.Set(meta.TagBadDigests, data)
	}
	if err != nil {
		return fmt.Errorf("mark the image: %w", err)
	}
	return nil
}
