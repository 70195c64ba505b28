package attempt

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade/pstore"
)

// Crash is what the kernel of a failed trial left behind.
type Crash struct {
	Panic string    `json:"panic,omitempty"` // what it panicked for
	Log   string    `json:"log"`             // the end of its log
	When  time.Time `json:"when"`            // by its own clock
	Dumps []string  `json:"dumps,omitempty"` // ids of what is to be removed from where it was kept
}

// maxCrashLog and maxPanic bound what META keeps of a log, in bytes, and maxDumps how many dumps it names.
const (
	maxCrashLog = 4096
	maxPanic    = 200
	maxDumps    = 64
)

// BootMark is the line that a node writes into the kernel's log early in each boot, so that a kernel's last words tell
// whose they are.
func BootMark(bootID string, s bootloader.Slot, version string) string {
	return fmt.Sprintf("pawl: boot %s runs slot %s, version %s", bootID, s, version)
}

var bootMark = regexp.MustCompile(`pawl: boot (\S+) runs slot ([AB]), version ([^\n]*)`)

// clockError is how far two readings of a clock may differ in one machine from boot to boot.
const clockError = 2 * time.Second

// noClock is a time that no clock shows which was ever set: a machine that keeps no time begins each boot years
// earlier.
var noClock = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// CrashIn finds in all that kernels left what those of the attempt's trial did: what META is to keep of it, nil where
// there is nothing, and the dumps that are theirs. A dump is theirs only if nothing speaks against it: it was not there
// when the trial was armed, its mark ([BootMark]) does not name the old slot, and its kernel was started after the
// attempt was prepared. Where its mark names the boot in which the trial said that it started, no clock is asked; where
// the clocks cannot tell, its mark has to name the new version in another boot than the one that prepared the attempt.
func (a *Attempt) CrashIn(all []pstore.Dump) (*Crash, []pstore.Dump) {
	var c *Crash
	var theirs []pstore.Dump
	for _, d := range all {
		if !a.wrote(d) {
			continue
		}
		theirs = append(theirs, d)
		why := d.Panic()
		if c != nil && c.Panic != "" && why == "" {
			continue // a panic says more than what came before or after it
		}
		c = &Crash{Panic: foreign.Text(why, maxPanic), Log: d.Excerpt(maxCrashLog),
			When: d.When.UTC().Truncate(time.Second)}
	}
	if c != nil {
		for _, d := range theirs[:min(len(theirs), maxDumps)] {
			c.Dumps = append(c.Dumps, d.ID)
		}
	}
	return c, theirs
}

// wrote reports whether a kernel of a's trial wrote d.
func (a *Attempt) wrote(d pstore.Dump) bool {
	if slices.Contains(a.Seen, d.ID) {
		return false
	}
	marks := bootMark.FindAllStringSubmatch(d.Text, -1)
	boot, version := "", ""
	if len(marks) > 0 {
		last := marks[len(marks)-1]
		if last[2] != string(a.To) {
			return false
		}
		boot, version = last[1], strings.TrimSpace(last[3])
	}
	if boot != "" && boot == a.Boots.Started {
		return true
	}
	if booted, ok := d.Booted(); ok && booted.After(noClock) && a.Begun.After(noClock) {
		return !booted.Before(a.Begun.Add(-clockError))
	}
	return boot != "" && boot != a.Boots.Prepared && version == a.Version
}

// See notes what other kernels left before a trial is armed.
func (a *Attempt) See(all []pstore.Dump) {
	a.Seen = nil
	for _, d := range all[max(0, len(all)-maxDumps):] {
		a.Seen = append(a.Seen, d.ID)
	}
}
