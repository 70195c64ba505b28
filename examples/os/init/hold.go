package main

import (
	"strings"

	"github.com/pawl-os/pawl/examples/os/pid1"
)

// reached is called when the node service reaches a phase or a step. Phases are reported. In the one that the console's
// command "stop-at upgrade/drain" has named, in this boot or an earlier one, the machine stands still for ever, and
// says so: the power can then be cut there. The next boot knows nothing of it any more.
func (h *hooks) reached(at string) {
	if strings.Contains(at, "/") {
		pid1.Report("phase", "at", at)
	}
	if h.stop == "" || at != h.stop {
		return
	}
	err := h.stopAt(nil)
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	pid1.Report("held", "at", at)
	select {}
}

// stopAt has the machine stop in a phase, once; in none without arguments.
func (h *hooks) stopAt(at []string) error {
	return h.update(func(r *records) error {
		r.Stop = strings.Join(at, "")
		h.stop = r.Stop
		return nil
	})
}
