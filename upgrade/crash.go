package upgrade

import (
	"slices"

	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/pstore"
)

// crash finds what the kernels of an attempt's trial left, and what to remove.
func (m *Machine) crash(a *attempt.Attempt) (*attempt.Crash, []pstore.Dump) {
	all, err := m.PStore.Read()
	if err != nil {
		m.log.Warn("what the kernel left is not readable", "reason", err)
		return nil, nil
	}
	return a.CrashIn(all)
}

// see notes what other kernels left before a trial is armed.
func (m *Machine) see(a *attempt.Attempt) {
	all, err := m.PStore.Read()
	if err != nil {
		m.log.Warn("what the kernel left is not readable", "reason", err)
	}
	a.See(all)
}

// forget removes dumps that META has an excerpt of: where they are kept there is little room.
func (m *Machine) forget(dumps []pstore.Dump) {
	for _, d := range dumps {
		if err := m.PStore.Remove(d); err != nil {
			m.log.Warn("what the kernel left stays", "reason", err)
		}
	}
}

// forgetLater is forget for what a power cut left over.
func (m *Machine) forgetLater(a *attempt.Attempt) {
	if a.Crash == nil || len(a.Crash.Dumps) == 0 {
		return
	}
	all, err := m.PStore.Read()
	if err != nil {
		return // the next boot
	}
	m.forget(slices.DeleteFunc(all, func(d pstore.Dump) bool { return !slices.Contains(a.Crash.Dumps, d.ID) }))
}
