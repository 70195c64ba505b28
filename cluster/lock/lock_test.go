package lock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memory is a Store whose answers can be lost.
type memory struct {
	mu    sync.Mutex
	slots map[int]Slot
	last  int
	fail  func(reading bool) (before, after error) // of each call; nil: none
}

func (m *memory) fails(reading bool) (before, after error) {
	if m.fail == nil {
		return nil, nil
	}
	return m.fail(reading)
}

func (m *memory) Slots(context.Context) (all []Slot, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, after := m.fails(true); before != nil || after != nil {
		return nil, errors.Join(before, after)
	}
	for i := range 10 {
		if s, ok := m.slots[i]; ok {
			all = append(all, s)
		}
	}
	return all, nil
}

func (m *memory) Write(_ context.Context, at Slot, to Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, after := m.fails(false)
	if before != nil {
		return before
	}
	if m.slots[at.Index].Version != at.Version {
		return ErrMoved
	}
	m.last++
	if m.slots[at.Index] = (Slot{at.Index, to, strconv.Itoa(m.last)}); to.Free() {
		delete(m.slots, at.Index)
	}
	return after
}

func newPool(of int) (Pool, *memory) {
	m := &memory{slots: map[int]Slot{}}
	return Pool{Store: m, Name: "workers", Of: of, Pause: time.Millisecond}, m
}

var one, two, three = Owner{"n1", "a1"}, Owner{"n2", "a2"}, Owner{"n3", "a3"}

func TestAPoolHasAsManyHoldersAsItIsTold(t *testing.T) {
	p, m := newPool(2)
	ctx := t.Context()
	require.NoError(t, p.Claim(ctx, one))
	require.NoError(t, p.Claim(ctx, two))
	held := new(HeldError)
	require.ErrorAs(t, p.Claim(ctx, three), &held)
	require.Len(t, held.By, 2)
	require.ErrorContains(t, held, "pool workers has no free slot: held by node n1 (attempt a1), step claimed since")
	require.NoError(t, p.Release(ctx, one))
	require.NoError(t, p.Release(ctx, one), "nothing to release is no error")
	p.Of = 1
	require.ErrorAs(t, p.Claim(ctx, three), &held, "another node was told of two, this one of one: the lowest counts")
	p.Of = 2
	require.NoError(t, p.Ask(ctx, three))
	require.NoError(t, p.Claim(ctx, three))
	require.Len(t, m.slots, 2)
}

func TestAnAnswerThatIsLostIsKnownByWhatIsThere(t *testing.T) {
	p, m := newPool(1)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"claim":   func() error { return p.Claim(ctx, one) },
		"reach":   func() error { return p.Reach(ctx, one, Down) },
		"release": func() error { return p.Release(ctx, one) },
	} {
		require.NoError(t, p.Claim(ctx, one))
		left := 1
		m.fail = func(reading bool) (before, after error) {
			if reading || left == 0 {
				return nil, nil
			}
			left--
			return nil, context.DeadlineExceeded
		}
		require.NoError(t, call(), name)
		m.fail = nil
		require.NoError(t, p.Release(ctx, one))
		require.Empty(t, m.slots)
	}
}

func TestAStoreThatDoesNotAnswerIsAnErrorInTheEnd(t *testing.T) {
	p, m := newPool(1)
	m.fail = func(bool) (before, after error) { return errors.New("no leader"), nil }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, p.Claim(ctx, one), "claim a slot of pool workers: after ")
	require.ErrorContains(t, p.Release(ctx, one), "no leader")
}

func TestANodeTakesOverWhatItsEarlierAttemptLeft(t *testing.T) {
	p, m := newPool(1)
	ctx := t.Context()
	require.NoError(t, p.Claim(ctx, one))
	require.NoError(t, p.Reach(ctx, one, Down))
	again := Owner{one.Node, "a9"}
	require.NoError(t, p.Claim(ctx, again))
	require.ErrorIs(t, p.Reach(ctx, one, Back), ErrLost)
	require.NoError(t, p.Reach(ctx, again, Drained))
	require.ErrorContains(t, p.Reach(ctx, again, Claimed), "comes before step")
	m.slots[1] = Slot{1, Record{Owner: again, Step: Claimed, Of: 2}, "x"} // by a write that came late
	require.NoError(t, p.Claim(ctx, again))
	require.Len(t, m.slots, 1)
}

func TestWhatAPersonMayFree(t *testing.T) {
	for _, step := range []Step{Claimed, Drained, Down, Back} {
		s := Slot{Record: Record{Owner: one, Step: step, Of: 1}, Version: "1"}
		word := step == Claimed || step == Drained
		_, err := ByHand(s, Evidence{By: "me"})
		require.Equal(t, word, err == nil, step)
		for _, e := range []Evidence{{By: "me", Over: true}, {By: "me", Off: "the plug is pulled"}} {
			_, err := ByHand(s, e)
			require.NoError(t, err)
		}
		_, err = ByHand(s, Evidence{Over: true})
		require.ErrorIs(t, err, ErrStands, "nobody asks")
	}
	_, err := ByHand(Slot{}, Evidence{By: "me", Over: true})
	require.ErrorIs(t, err, ErrStands)
}

func TestAPersonFreesOnlyWhatWasSeen(t *testing.T) {
	p, _ := newPool(1)
	ctx := t.Context()
	require.NoError(t, p.Claim(ctx, one))
	seen, err := p.Slots(ctx)
	require.NoError(t, err)
	require.NoError(t, p.Reach(ctx, one, Drained))
	require.ErrorIs(t, p.ByHand(ctx, seen[0], Evidence{By: "me"}), ErrMoved)
	seen, err = p.Slots(ctx)
	require.NoError(t, err)
	require.NoError(t, p.ByHand(ctx, seen[0], Evidence{By: "me"}))
	require.NoError(t, p.ByHand(ctx, seen[0], Evidence{By: "me"}), "again: it is done")
	require.ErrorIs(t, p.Reach(ctx, one, Down), ErrLost)
}

func TestPeopleSeeSinceWhenAndWhenLast(t *testing.T) {
	p, m := newPool(1)
	require.NoError(t, p.Claim(t.Context(), one))
	require.NoError(t, p.Reach(t.Context(), one, Down))
	down := m.slots[0].Record
	require.NoError(t, p.Reach(t.Context(), one, Down))
	again := m.slots[0].Record
	require.Equal(t, down.Since, again.Since)
	require.True(t, again.Seen.After(down.Seen))
	again.Seen = again.Since.Add(time.Hour)
	require.Regexp(t, `step down since \S+Z, last seen \S+Z$`, again.String())
}

// A clock that jumps changes no decision: whatever the times of a record say, the same is written, but for the times.
func TestNoClockIsInADecision(t *testing.T) {
	clocks := []time.Time{{}, time.Unix(1, 0), time.Now(), time.Now().Add(100 * 365 * 24 * time.Hour)}
	steps := []Step{Claimed, Drained, Down, Back}
	timeless := func(changes []Change, err error) string {
		text := fmt.Sprint(err == nil, errors.Is(err, ErrLost), errors.Is(err, ErrStands))
		for _, c := range changes {
			for _, r := range []*Record{&c.Slot.Record, &c.To} {
				r.Since, r.Seen = time.Time{}, time.Time{}
			}
			text += fmt.Sprintf("; %+v", c)
		}
		return text
	}
	decide := func(holder string, at, to Step, written, now time.Time) string {
		slots := []Slot{{Version: "7", Record: Record{Owner: Owner{Node: holder, Attempt: "a"}, Step: at, Of: 1,
			Since: written, Seen: written}}}
		me := Record{Owner: Owner{Node: "n1", Attempt: "a"}, Step: to, Of: 1, Since: now, Seen: now}
		return strings.Join([]string{timeless(Take("p", slots, me)), timeless(Advance(slots, me)),
			timeless(Give(slots, "n1"), nil), timeless(ByHand(slots[0], Evidence{By: "ann"}))}, "\n")
	}
	for _, holder := range []string{"n1", "n2"} {
		for _, at := range steps {
			for _, to := range steps {
				said := map[string]bool{}
				for _, written := range clocks {
					for _, now := range clocks {
						said[decide(holder, at, to, written, now)] = true
					}
				}
				require.Len(t, said, 1, "%s at %s, to %s", holder, at, to)
			}
		}
	}
}

func TestRecordsThatCannotBe(t *testing.T) {
	good := Record{Owner: one, Step: Down, Of: 1}
	require.NoError(t, good.Check())
	for says, spoil := range map[string]func(*Record){
		"more than 253 bytes": func(r *Record) { r.Node = strings.Repeat("x", 254) },
		"ASCII letters":       func(r *Record) { r.What = "\x1b[2J" },
		"names no node":       func(r *Record) { r.Node = "" },
		"is none":             func(r *Record) { r.Step = "away" },
		"a pool of 0":         func(r *Record) { r.Of = 0 },
	} {
		r := good
		spoil(&r)
		require.ErrorContains(t, r.Check(), says)
	}
	p, m := newPool(1)
	require.ErrorContains(t, p.Claim(t.Context(), Owner{Node: "n1"}), "names no node or no attempt")
	require.Empty(t, m.slots)
}
