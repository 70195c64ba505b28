package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/partition/meta"
)

// loaderRecord is what META remembers of loaders. Without it one is left where it could have been replaced.
type loaderRecord struct {
	// SHA-256 of one that was installed by us, and that no slot may hold any more
	Installed string `json:"installed,omitempty"`
	Tried     string `json:"tried,omitempty"`  // SHA-256 of the one that firmware was told to start once
	Boot      string `json:"boot,omitempty"`   // the boot in which it was told
	Ended     bool   `json:"ended,omitempty"`  // it is known what became of it
	Failed    string `json:"failed,omitempty"` // why it counts as one that does not start; "" when it did
}

func (m *Machine) loaderRecord() (loaderRecord, error) {
	var r loaderRecord
	_, err := m.value(meta.TagLoader, &r)
	return r, err
}

// tried reports whether the record is of the loader with that SHA-256.
func (r loaderRecord) tried(digest string) bool { return r.Tried == digest && digest != "" }

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

// ours says why what is in the loader's place was not installed by us, nil when it was: its bytes are those of a slot's
// own loader, or of one that is on record. Where nothing is in its place there is nothing of others to be lost.
func (m *Machine) ours(c bootloader.Comparison) error {
	if c.Missing || m.InWholeDisk() { // there it is forced in any case
		return nil
	}
	if c.Digest == "" {
		return fmt.Errorf("the loader that is installed cannot be read, so it is not known whose it is: %w",
			bootloader.ErrNotOurs)
	}
	for _, s := range bootloader.Slots() {
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

// rememberLoader records that the installed loader is ours, before slot s is cleared, where nothing else would show it:
// the loader of a later version was left. If power fails before, s is as it was.
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

// noticeLoader records what became of a loader that firmware was told to start once: this is the first boot after that.
// A boot goes on whatever comes of it. If power fails before META has it, the next boot came by the usual loader, and
// it counts as one that does not start.
func (m *Machine) noticeLoader(st bootloader.State) {
	r, err := m.loaderRecord()
	if err != nil || r.Tried == "" || r.Ended || r.Boot == m.BootID || m.BootID == "" || m.startedByKexec() {
		return // also where META cannot be read, which is reported elsewhere
	}
	l, ok := m.Loader.(bootloader.Replacer)
	own, err := ownOf(m.slot(st.Active))
	if !ok || st.Active == bootloader.None || st.Trial() || err != nil || !r.tried(own.SHA256) {
		return
	}
	t, err := l.Tried(st.Active)
	switch {
	case err != nil:
		r.Failed = fmt.Sprintf("what started this boot cannot be read: %v", err)
	case t.Waits:
		r.Failed = "the firmware did not use up BootNext, so it is not known what it starts"
		if err := l.Untry(); err != nil {
			m.log.Warn("the firmware goes on to start the loader of the slot", "reason", err)
		}
	case t.By == "":
		r.Failed = "the firmware does not say what started this boot"
	case !t.Came:
		r.Failed = fmt.Sprintf("the firmware was to start it once, and this boot was started by %s", t.By)
	}
	r.Ended = true
	if err := m.recordLoader(r); err != nil {
		m.log.Warn("what became of the new loader is not recorded", "reason", err)
	}
}

// startedByKexec reports whether firmware has not run since another kernel did.
func (m *Machine) startedByKexec() bool {
	return slices.ContainsFunc(cmdline.Kernel(m.Cmdline),
		func(a cmdline.Arg) bool { return a.String() == cmdline.StartKexec })
}

// forgetTry takes back that firmware is to start a loader once, before an attempt has it boot something else. If power
// fails between the two writes, it is started once more than it had to be.
func (m *Machine) forgetTry() error {
	l, ok := m.Loader.(bootloader.Replacer)
	if !ok {
		return nil
	}
	if r, err := m.loaderRecord(); err == nil && r.Tried != "" && !r.Ended {
		r.Tried, r.Boot = "", ""
		if err := m.recordLoader(r); err != nil {
			return err
		}
	}
	return l.Untry()
}

// provedLoader reports whether the loader of slot s, of that SHA-256, has started the machine once; if not, firmware is
// told to start it so, at the next start. If power fails
//
//	before firmware is told      the usual loader
//	before META says so          the version's own copy of the new loader, once, then the usual one; it is told again
//	after it                     the same, and the boot sees what became of it: see noticeLoader
func (m *Machine) provedLoader(l bootloader.Replacer, s bootloader.Slot, digest string) (bool, error) {
	r, err := m.loaderRecord()
	if err != nil {
		return false, err
	}
	if r.tried(digest) && r.Ended {
		return r.Failed == "", nil // what failed is left: see LoaderStatus.Left
	}
	t, err := l.Tried(s)
	switch {
	case err != nil:
		return false, err
	case t.Waits && r.tried(digest):
		return false, nil
	}
	if a, err := m.attempt(); err != nil {
		return false, err
	} else if a != nil && a.Open() {
		return false, fmt.Errorf("%s is %s (let it come to its end first)", a.Kind, a.State)
	}
	if err := l.Try(s); err != nil {
		return false, err
	}
	r.Tried, r.Boot, r.Ended, r.Failed = digest, m.BootID, false, ""
	return false, m.recordLoader(r)
}
