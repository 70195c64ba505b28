package attempt

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/internal/foreign"
)

// ErrRecord is returned for a value of META that holds something else than these records. Do: delete it, or make META
// empty; what it recorded is lost.
var ErrRecord = errors.New("it is not as Pawl writes it")

// What META keeps of each text, in bytes, so that it never runs out of room for the next step of an attempt: after
// arming that would cost a trial.
const (
	maxReason    = 4 << 10
	maxBadReason = 512 // of each of the known-bad images
	maxReference = 1 << 10
	maxWord      = 256
)

// maxKnownBad is how many bad images META remembers; the oldest go first.
const maxKnownBad = 16

// Encode is the attempt as META keeps it, once what others said in it is cut.
func (a *Attempt) Encode() ([]byte, error) {
	a.bound()
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode attempt: %w", err)
	}
	return data, nil
}

func (a *Attempt) bound() {
	a.Reason = foreign.Text(a.Reason, maxReason)
	a.Reference = foreign.Text(a.Reference, maxReference)
	for _, s := range []*string{&a.ID, &a.Old, &a.Version, &a.Image, &a.Way, &a.Mode, &a.Reached, &a.Boots.Prepared,
		&a.Boots.Started, &a.Boots.Ended} {
		*s = foreign.Text(*s, maxWord)
	}
	if c := a.Crash; c != nil {
		c.Panic, c.Log = foreign.Text(c.Panic, maxPanic), foreign.Text(c.Log, maxCrashLog)
	}
}

// EncodeBad is the list of bad images as META keeps it, the latest last. Their texts are cut, and the oldest go.
func EncodeBad(list []Bad) ([]byte, error) {
	list = list[max(0, len(list)-maxKnownBad):]
	for i := range list {
		list[i].Version = foreign.Text(list[i].Version, maxWord)
		list[i].Reason = foreign.Text(list[i].Reason, maxBadReason)
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode known-bad images: %w", err)
	}
	return data, nil
}
