package talos

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/talos/wire"
)

// perEvent is more than the messages that one event of the node makes.
const perEvent = 8

// follower is one stream of events.
type follower struct {
	m      *machine
	to     *connect.ServerStream[wire.Event]
	ask    *wire.EventsRequest
	teller teller
	last   state // that was told, or that a client knows without being told
	orders int   // that began since the stream did
	fated  bool  // what became of the order before this boot was told, if there is anything to tell
}

// events tells the past that was asked for, and then follows. Its first message is empty, by which a client knows that
// the stream is there.
//
// Of the past, only what belongs to the latest order is told; where there was none in this boot, what became of the one
// before. Then comes what the machine is. So a client that comes back after a restart, or because its connection broke,
// hears of a failure before it hears that the machine runs.
func (m *machine) events(ctx context.Context, r *wire.EventsRequest, to *connect.ServerStream[wire.Event]) error {
	f := &follower{m: m, to: to, ask: r, teller: teller{bootID: m.s.About().BootID}}
	if err := to.Send(&wire.Event{}); err != nil {
		return err
	}
	since, past, err := f.past(ctx)
	if err != nil {
		return err
	}
	now, st := f.look(ctx)
	f.last = now
	if f.replays() {
		if err := f.replay(past); err != nil {
			return err
		}
		if err := f.tellState(now, st, since); err != nil {
			return err
		}
	}
	return f.follow(ctx, since)
}

// replays reports whether the past was asked for.
func (f *follower) replays() bool {
	return f.ask.TailEvents != 0 || f.ask.TailId != "" || f.ask.TailSeconds > 0
}

// kept is an event of the past.
type kept struct {
	message proto.Message
	actor   string
	id      string
	at      time.Time
}

// past is what the latest order of this boot told, and the id of the node's event that the rest comes after.
func (f *follower) past(ctx context.Context) (since uint64, all []kept, err error) {
	err = f.m.s.Events(ctx, node.Since{}, func(e node.Event) error {
		since = e.ID
		for i, is := range f.teller.tell(e) {
			if is.begins {
				all = nil
			}
			if f.teller.order != "" {
				all = append(all, kept{is.message, f.teller.actor, f.id(e, i), e.Time})
			}
		}
		return nil
	})
	return since, all, err
}

func (f *follower) id(e node.Event, i int) string {
	return id(e.BootID, e.Time, e.ID*perEvent+uint64(i))
}

// replay sends of the past what was asked for. A client that asks for all has lost its stream, and looks for what
// nobody is named as the actor of.
func (f *follower) replay(past []kept) error {
	if n := int(f.ask.TailEvents); n > 0 && len(past) > n {
		past = past[len(past)-n:]
	}
	for _, k := range past {
		if k.id <= f.ask.TailId || f.ask.TailSeconds > 0 && time.Since(k.at) > time.Duration(f.ask.TailSeconds)*time.Second {
			continue
		}
		if err := f.send(k.message, k.actor, k.id); err != nil {
			return err
		}
	}
	return nil
}

// send sends one message, if it is of whom was asked for.
func (f *follower) send(message proto.Message, actor, id string) error {
	if of := f.ask.WithActorId; of != "" && of != actor {
		return nil
	}
	if f.ask.TailEvents < 0 && f.ask.WithActorId == "" {
		actor = ""
	}
	e, err := event(message, id, actor)
	if err != nil {
		return err
	}
	return f.to.Send(e)
}

// follow tells what happens after an event of the node, until ctx ends or the service does.
func (f *follower) follow(ctx context.Context, since uint64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	come, ended := make(chan node.Event), make(chan error, 1)
	go func() {
		ended <- f.m.s.Events(ctx, node.Since{ID: since, Follow: true}, func(e node.Event) error {
			select {
			case come <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	look := time.NewTicker(f.m.every)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case e := <-come:
			since = e.ID
			if err := f.pass(ctx, e); err != nil {
				return err
			}
		case <-look.C:
			if f.last.ready() {
				continue
			}
			if err := f.changed(ctx, since); err != nil {
				return err
			}
		}
	}
}

// pass tells one event of the node, and then the state, where it may be another now.
func (f *follower) pass(ctx context.Context, e node.Event) error {
	_, turn := e.Told.(node.Turn)
	for i, is := range f.teller.tell(e) {
		if is.begins {
			f.orders++
		}
		if err := f.send(is.message, f.teller.actor, f.id(e, i)); err != nil {
			return err
		}
	}
	if turn {
		return f.changed(ctx, e.ID)
	}
	return nil
}

// look is what the machine is now. While an order is underway as far as it was told, that is never ready: its end, and
// why it failed, are told first.
func (f *follower) look(ctx context.Context) (state, node.Status) {
	now, st := f.m.look(ctx)
	if now.ready() && f.teller.underway() {
		sequence := sequenceOf(f.teller.order)
		now = state{wire.MachineStatusEvent_STAGE_UPGRADING, sequence, f.teller.order}
	}
	return now, st
}

// changed tells the state if it is not what was told last. To who asked for no past, it is not told that the machine
// runs and is ready after an order of this boot: he may be about to order something, and would take it as his success.
func (f *follower) changed(ctx context.Context, since uint64) error {
	now, st := f.look(ctx)
	if now == f.last || ctx.Err() != nil {
		return nil
	}
	f.last = now
	if now.ready() && !f.replays() && f.orders > 0 {
		return nil
	}
	return f.tellState(now, st, since)
}

// tellState tells a state, after an event of the node. To who asked for the past, what became of the order before this
// boot comes first, as soon as it is known: a client may be there before this boot is recorded.
func (f *follower) tellState(now state, st node.Status, since uint64) error {
	if f.replays() && !f.fated && st.BootID != "" {
		f.fated = true
		if why := fate(st); why != nil && f.teller.order == "" {
			if err := f.send(why, "", id(f.teller.bootID, time.Now(), since*perEvent+perEvent-2)); err != nil {
				return err
			}
		}
	}
	of := ""
	if f.teller.underway() {
		of = f.teller.actor
	}
	return f.send(now.event(), of, id(f.teller.bootID, time.Now(), since*perEvent+perEvent-1))
}
