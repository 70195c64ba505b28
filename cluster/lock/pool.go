package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Pool is the Locker over a Store.
type Pool struct {
	Store   Store
	Name    string        // of the pool, for people; the Store knows it by itself
	Of      int           // how many may hold at once; 0 is 1
	Address string        // where this node's API answers, for the record
	What    string        // what it is about, for the record
	Try     time.Duration // how long each call to the Store may take; 0 is 2 s. A member that is paused answers nothing
	Pause   time.Duration // between two tries; 0 is 500 ms
	Log     *slog.Logger  // nil discards
}

func (p Pool) record(o Owner, s Step) Record {
	now := time.Now().UTC()
	return Record{Owner: o, Step: s, Of: max(p.Of, 1), Address: p.Address, What: p.What, Since: now, Seen: now}
}

// Ask implements Locker.
func (p Pool) Ask(ctx context.Context, o Owner) error {
	return p.run(ctx, "ask", func(slots []Slot) ([]Change, error) {
		_, err := Take(p.Name, slots, p.record(o, Claimed))
		return nil, err
	})
}

// Claim implements Locker.
func (p Pool) Claim(ctx context.Context, o Owner) error {
	r := p.record(o, Claimed)
	if err := r.Check(); err != nil {
		return fmt.Errorf("claim a slot of pool %s: the record cannot be written: %w", p.Name, err)
	}
	return p.run(ctx, "claim a slot of", func(slots []Slot) ([]Change, error) { return Take(p.Name, slots, r) })
}

// Reach implements Locker.
func (p Pool) Reach(ctx context.Context, o Owner, s Step) error {
	return p.run(ctx, "reach step "+string(s)+" in", func(slots []Slot) ([]Change, error) {
		return Advance(slots, p.record(o, s))
	})
}

// Release implements Locker.
func (p Pool) Release(ctx context.Context, o Owner) error {
	return p.run(ctx, "release", func(slots []Slot) ([]Change, error) { return Give(slots, o.Node), nil })
}

// ByHand frees the slot that was read as it is here, if the evidence is enough: see the function ByHand.
func (p Pool) ByHand(ctx context.Context, seen Slot, e Evidence) error {
	return p.run(ctx, "release by hand a slot of", func(slots []Slot) ([]Change, error) {
		at := slices.IndexFunc(slots, func(s Slot) bool { return s.Index == seen.Index })
		if at < 0 || slots[at].Record.Free() {
			return nil, nil // by a try whose answer was lost, or by its holder
		}
		if slots[at].Version != seen.Version {
			return nil, fmt.Errorf("slot %d: %w (look again)", seen.Index, ErrMoved)
		}
		return ByHand(slots[at], e)
	})
}

// Slots are those of the pool.
func (p Pool) Slots(ctx context.Context) (slots []Slot, err error) {
	err = p.run(ctx, "list", func(found []Slot) ([]Change, error) {
		slots = found
		return nil, nil
	})
	return slots, err
}

// run reads, decides and writes until a decision asks for nothing more. What failed may have happened: it is read
// again, and the decision knows by what is there.
func (p Pool) run(ctx context.Context, what string, decide func([]Slot) ([]Change, error)) error {
	last := error(nil)
	for tries := 1; ; tries++ {
		done, err := p.once(ctx, decide)
		var final decided
		if done || errors.As(err, &final) {
			if final.error != nil {
				err = final.error
			}
			return p.say(what, err)
		}
		if p.Log != nil && err != nil {
			p.Log.Warn("lock", "pool", p.Name, "doing", what, "try", tries, "reason", err)
		}
		if err != nil && ctx.Err() == nil { // else it tells of the end of the time, and not why there was none
			last = err
		}
		wait := time.Duration(0)
		if err != nil && !errors.Is(err, ErrMoved) {
			wait = p.pause()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return p.say(what, fmt.Errorf("after %d tries: %w", tries, cmp.Or(last, err, ctx.Err())))
		}
	}
}

func (p Pool) say(what string, err error) error {
	if held := new(HeldError); err == nil || errors.As(err, &held) {
		return err // it names the pool
	}
	return fmt.Errorf("%s pool %s: %w", what, p.Name, err)
}

func (p Pool) pause() time.Duration {
	if p.Pause == 0 {
		return 500 * time.Millisecond
	}
	return p.Pause
}

// decided is an error that trying again does not change.
type decided struct{ error }

// once is one round. It is not done when there may be more to write.
func (p Pool) once(ctx context.Context, decide func([]Slot) ([]Change, error)) (done bool, err error) {
	try := p.Try
	if try == 0 {
		try = 2 * time.Second
	}
	reading, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	slots, err := p.Store.Slots(reading)
	if err != nil {
		return false, err
	}
	changes, err := decide(slots)
	if err != nil {
		return false, decided{err}
	}
	if len(changes) == 0 {
		return true, nil
	}
	writing, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	if err := p.Store.Write(writing, changes[0].Slot, changes[0].To); err != nil {
		return false, err
	}
	return len(changes) == 1, nil
}
