package rollout

import (
	"slices"
	"time"
)

// Window is when orders may be given. What is underway when it closes goes on.
type Window struct {
	Days   []time.Weekday // on which it opens; none: every day
	Start  time.Duration  // since midnight, as clocks there show it
	Length time.Duration  // at most a day
	Zone   *time.Location
}

// Open reports whether the window is open, and when that changes next.
func (w *Window) Open(now time.Time) (open bool, change time.Time) {
	local := now.In(w.Zone)
	hours, minutes := int(w.Start/time.Hour), int(w.Start%time.Hour/time.Minute)
	for day := -1; day <= 8; day++ { // yesterday's may be open still; the next is within a week
		begins := time.Date(local.Year(), local.Month(), local.Day()+day, hours, minutes, 0, 0, w.Zone)
		if len(w.Days) > 0 && !slices.Contains(w.Days, begins.Weekday()) {
			continue
		}
		ends := begins.Add(min(w.Length, 24*time.Hour))
		switch {
		case now.Before(begins):
			return false, begins
		case now.Before(ends):
			return true, ends
		}
	}
	return false, now.Add(24 * time.Hour)
}
