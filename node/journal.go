package node

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"
)

// journalSize is how many events a node keeps: an upgrade has about forty.
const journalSize = 4096

// maxCalls is how many calls a node keeps of each kind, those that were refused and the others: they push out no
// operation, nor the one kind the other.
const maxCalls = 128

// journal is what the node told in this boot, in order. Its ids are those of all events.
type journal struct {
	bootID string

	mu      sync.Mutex
	events  []*Event // ids rise; an event is not changed once it is here
	last    uint64
	changed chan struct{}
}

func newJournal(bootID string) *journal {
	return &journal{bootID: bootID, changed: make(chan struct{})}
}

// add makes an event of what an operation tells, and keeps it.
func (j *journal) add(operation string, t Told) *Event {
	t = keep(t)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e := &Event{ID: j.last, Operation: operation, BootID: j.bootID, Time: time.Now().UTC(), Told: t}
	if n := len(j.events); n > 0 && replaces(e, j.events[n-1]) {
		j.events = j.events[: n-1 : n-1]
	}
	if c, ok := t.(Call); ok {
		j.forget(c.Denied)
	}
	if len(j.events) >= journalSize {
		j.events = append([]*Event(nil), j.events[journalSize/4:]...)
	}
	j.events = append(j.events, e)
	close(j.changed)
	j.changed = make(chan struct{})
	return e
}

// forget makes room for a call.
func (j *journal) forget(denied bool) {
	first, count := 0, 0
	for i, e := range j.events {
		if c, ok := e.Told.(Call); ok && c.Denied == denied {
			if count++; count == 1 {
				first = i
			}
		}
	}
	if count >= maxCalls {
		j.events = slices.Concat(j.events[:first], j.events[first+1:])
	}
}

// replaces reports whether e tells no more than that bytes have grown since the last event.
func replaces(e, last *Event) bool {
	was, before := last.Told.(Progress)
	is, now := e.Told.(Progress)
	return before && now && was.counts() && is.counts() && last.Operation == e.Operation && was.Step == is.Step
}

// counts reports whether it tells of nothing but bytes.
func (p Progress) counts() bool { return !p.Done && p.Bytes > 0 }

// after is the first event with an id above since, if there is one; changed is closed when there may be more.
func (j *journal) after(since uint64) (next *Event, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return behind(j.events, since), j.changed
}

// behind is the first event with an id above since; nil if there is none.
func behind(events []*Event, since uint64) *Event {
	n := sort.Search(len(events), func(i int) bool { return events[i].ID > since })
	if n == len(events) {
		return nil
	}
	return events[n]
}

// Called keeps a call of the API among the events.
func (s *Server) Called(c Call) { s.journal.add("call", c) }

// Events calls each with what the node told in this boot, and then follows it if asked, until ctx ends, the server
// closes, or each returns an error.
func (s *Server) Events(ctx context.Context, from Since, each func(Event) error) error {
	since := from.ID
	if from.BootID != "" && from.BootID != s.bootID {
		since = 0
	}
	for {
		next, changed := s.journal.after(since)
		switch {
		case next != nil:
			if err := each(*next); err != nil {
				return err
			}
			since = next.ID
		case !from.Follow:
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

// named tells the journal of what is no operation of the queue, such as a trial.
type named struct {
	j    *journal
	name string
}

func (n named) tell(t Told) { n.j.add(n.name, t) }
