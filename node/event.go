package node

import (
	"time"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// Event is one thing that the node tells. IDs rise by at least 1; what a slow reader misses are only bytes counted.
type Event struct {
	ID        uint64
	Operation string // that tells it: "upgrade to REF", "trial"
	BootID    string // IDs begin anew in every boot
	Time      time.Time
	Told      Told
}

// Told is what an event tells: [Plan], [Progress], [Armed], [Task], [Turn], [Notice] or
// [Call].
type Told interface{ told() }

// Plan is what an operation is about to do. Its steps are those of the whole operation, hooks and restart included.
type Plan struct{ upgrade.Plan }

// Progress tells where an operation is: once when a step begins, again as its bytes grow, and once when it is over.
type Progress struct{ progress.Event }

// Armed is the end of an operation that succeeded.
type Armed struct {
	Attempt   attempt.Attempt
	Expected  Expected
	Rebooting bool
}

// Task is one hook or check in a phase: once when it begins, and once when it is over.
type Task struct {
	Phase   Phase
	Name    string
	Done    bool
	Err     error
	Elapsed time.Duration // once it is done
}

// Turn is the beginning or the end of an operation, when it gets the queue and when it leaves it.
type Turn struct {
	Done bool
	Err  error // why it failed
}

// Notice is something that a person should know of, and that no operation ends with.
type Notice string

// Call is a call of the API: one that is more than looking, once when it is let through where it lasts, and once when
// it is over; or one that was refused.
type Call struct {
	Caller  string // the subject of a certificate, or a user of this machine
	From    string // an address, or "socket"
	Role    string // of the caller; empty if there is none
	Method  string
	Request string // as JSON; empty if it was not read
	Done    bool
	Err     error         // why it failed
	Denied  bool          // it was refused: the caller is not known, or may not do that
	Elapsed time.Duration // once it is done
	Untold  int           // refused calls before this one that are not reported, because there were too many
}

func (Plan) told()     {}
func (Progress) told() {}
func (Armed) told()    {}
func (Task) told()     {}
func (Turn) told()     {}
func (Notice) told()   {}
func (Call) told()     {}

// maxText bounds each text of an event that others may have written, in bytes.
const maxText = 8 << 10

// maxCallText bounds each text of a call, in bytes.
const maxCallText = 1 << 10

// longError is an error whose text was too long, or none.
type longError struct {
	text string
	err  error
}

func (e longError) Error() string { return e.text }
func (e longError) Unwrap() error { return e.err }

// bounded is err with a text that can be kept and sent.
func bounded(err error) error {
	if err == nil || foreign.Fits(err.Error(), maxText) {
		return err
	}
	return longError{foreign.Text(err.Error(), maxText), err}
}

// keep is t as the journal keeps it: with texts of hooks, registries and firmware that are text, and of bounded length.
func keep(t Told) Told {
	switch t := t.(type) {
	case Notice:
		return Notice(foreign.Text(string(t), maxText))
	case Task:
		t.Err = bounded(t.Err)
		return t
	case Turn:
		t.Err = bounded(t.Err)
		return t
	case Progress:
		t.Err, t.File, t.How = bounded(t.Err), foreign.Text(t.File, maxText), foreign.Text(t.How, maxText)
		return t
	case Call:
		t.Err = bounded(t.Err)
		for _, text := range []*string{&t.Caller, &t.From, &t.Role, &t.Method, &t.Request} {
			*text = foreign.Text(*text, maxCallText)
		}
		return t
	case Plan:
		warnings := make([]string, len(t.Warnings))
		for i, text := range t.Warnings {
			warnings[i] = foreign.Text(text, maxText)
		}
		t.Warnings = warnings
		return t
	}
	return t
}
