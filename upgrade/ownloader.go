package upgrade

import (
	"encoding/json"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/meta"
)

// loaderRecord is what META remembers of loaders. Without it one is left where it could have been replaced.
type loaderRecord struct {
	Installed string `json:"installed,omitempty"` // SHA-256 of one that was installed by us, and that no slot may hold any more
}

func (m *Machine) loaderRecord() (loaderRecord, error) {
	var r loaderRecord
	_, err := m.value(meta.TagLoader, &r)
	return r, err
}

func (m *Machine) recordLoader(r loaderRecord) error {
	if m.metaErr != nil {
		return m.metaErr
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = m.meta.Update(func(v *meta.Values) error { return v.Set(meta.TagLoader, data) })
	}
	if err != nil {
		return fmt.Errorf("record the loader in META: %w", err)
	}
	return nil
}

// ours says why what is in the loader's place was not installed by us, nil when it was: its bytes are those of a slot's own loader, or of
// one that is on record. Where nothing is in its place there is nothing of others to be lost.
func (m *Machine) ours(c bootloader.Comparison) error {
	if c.Missing || m.InWholeDisk() { // there it is forced in any case
		return nil
	}
	if c.Digest == "" {
		return fmt.Errorf("the loader that is installed cannot be read, so it is not known whose it is: %w", bootloader.ErrNotOurs)
	}
	for _, s := range bootloader.Slots {
		if own, err := ownOf(m.slot(s)); err == nil && own.SHA256 == c.Digest {
			return nil
		}
	}
	r, err := m.loaderRecord()
	switch {
	case err != nil:
		return fmt.Errorf("%w, so it is not known whose loader is installed: %w", err, bootloader.ErrNotOurs)
	case r.Installed != c.Digest:
		return fmt.Errorf("%s lies there: %w", c.Installed, bootloader.ErrNotOurs)
	}
	return nil
}

// rememberLoader records that the installed loader is ours, before slot s is cleared, where nothing else would show it: the loader of a
// later version was left. If power fails before, s is as it was.
func (m *Machine) rememberLoader(s bootloader.Slot) {
	r, ok := m.Loader.(bootloader.Replacer)
	own, err := ownOf(m.slot(s))
	if !ok || err != nil || m.InWholeDisk() {
		return // nothing to be shown
	}
	c, err := r.Compare(s)
	if err == nil && c.Digest == own.SHA256 {
		other, noOwn := ownOf(m.slot(s.Other()))
		if noOwn == nil && other.SHA256 == c.Digest {
			return
		}
		var known loaderRecord
		if known, err = m.loaderRecord(); err == nil && known.Installed != c.Digest {
			known.Installed = c.Digest
			err = m.recordLoader(known)
		}
	}
	if err != nil {
		m.log.Warn("the installed loader may later be taken for somebody else's", "reason", err)
	}
}
