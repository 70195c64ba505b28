package node

import (
	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// expectTrial is what follows once a is armed.
func (s *Server) expectTrial(a attempt.Attempt) Expected {
	return Expected{BootID: s.bootID, Version: a.Version, Image: a.Image, Slot: a.To, Trial: true, Attempt: a.ID}
}

// expectNext is what the next boot starts, as far as st says.
func (s *Server) expectNext(st report.Status) Expected {
	if a := st.Attempt; a != nil && (a.State == attempt.Staged || a.State == attempt.Armed && a.To == st.Loader.Armed) {
		return s.expectTrial(*a)
	}
	e := Expected{BootID: s.bootID, Trial: st.Loader.Armed != bootloader.None}
	next := st.Loader.Armed
	if next == bootloader.None {
		next = st.Loader.Default
	}
	for _, slot := range st.Slots {
		if slot.Slot == next && slot.Content == report.Complete {
			e.Slot, e.Version, e.Image = next, slot.Manifest.Version, slot.Manifest.Image
		}
	}
	return e
}
