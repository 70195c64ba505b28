package node

import (
	"context"
	"sort"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// journalSize is how many events a node keeps: an upgrade has about forty.
const journalSize = 4096

// journal is what the node told in this boot, in order. Its ids are those of all events.
type journal struct {
	bootID string

	mu      sync.Mutex
	events  []*pawlv1.Event // ids rise; an event is not changed once it is here
	last    uint64
	changed chan struct{}
}

func newJournal(bootID string) *journal {
	return &journal{bootID: bootID, changed: make(chan struct{})}
}

// add completes e and keeps it.
func (j *journal) add(operation string, e *pawlv1.Event) {
	mend(e.ProtoReflect())
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e.Id, e.Operation, e.BootId, e.Time = j.last, operation, j.bootID, timestamppb.Now()
	if n := len(j.events); n > 0 && replaces(e, j.events[n-1]) {
		j.events = j.events[: n-1 : n-1]
	}
	if len(j.events) >= journalSize {
		j.events = append([]*pawlv1.Event(nil), j.events[journalSize/4:]...)
	}
	j.events = append(j.events, e)
	close(j.changed)
	j.changed = make(chan struct{})
}

// replaces reports whether e tells no more than that bytes have grown since the last event.
func replaces(e, last *pawlv1.Event) bool {
	return counts(last) && counts(e) && last.Operation == e.Operation && last.GetProgress().Step == e.GetProgress().Step
}

// after is the first event with an id above since, if there is one; changed is closed when there may be more.
func (j *journal) after(since uint64) (next *pawlv1.Event, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return behind(j.events, since), j.changed
}

// behind is the first event with an id above since; nil if there is none.
func behind(events []*pawlv1.Event, since uint64) *pawlv1.Event {
	n := sort.Search(len(events), func(i int) bool { return events[i].Id > since })
	if n == len(events) {
		return nil
	}
	return events[n]
}

// Events calls each with what the node told in this boot after the event with id since of the boot bootID (of another
// boot: from the beginning), and then follows it if asked, until ctx ends, the server closes, or each returns an error.
func (s *Server) Events(ctx context.Context, r *pawlv1.EventsRequest, each func(*pawlv1.Event) error) error {
	since := r.Since
	if r.BootId != "" && r.BootId != s.bootID {
		since = 0
	}
	for {
		next, changed := s.journal.after(since)
		switch {
		case next != nil:
			if err := each(next); err != nil {
				return err
			}
			since = next.Id
		case !r.Follow:
			return nil
		default:
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			case <-s.ctx.Done():
				return nil
			}
		}
	}
}

// voice tells the journal of what is no operation of the queue, such as a trial.
type voice struct {
	j    *journal
	name string
}

func (v voice) tell(e *pawlv1.Event) { v.j.add(v.name, e) }
