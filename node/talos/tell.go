package talos

import (
	"cmp"
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/talos/wire"
)

// Names of the operations that are orders: an upgrade's ends in the image's reference.
const (
	upgradeTo    = "upgrade to "
	rollbackName = "rollback"
	rebootName   = "reboot"
)

func isOrder(operation string) bool {
	return strings.HasPrefix(operation, upgradeTo) || operation == rollbackName || operation == rebootName
}

// restart is what the sequence of a restart is called. A client takes one that is called "reboot" as a reason to open
// its stream anew without the past, in which it would miss why a trial failed.
const restart = "restart"

// sequenceOf is the sequence that an order is.
func sequenceOf(operation string) string {
	switch {
	case strings.HasPrefix(operation, upgradeTo):
		return "upgrade"
	case operation == rebootName:
		return restart
	}
	return operation
}

// teller tells a node's events as Talos does.
type teller struct {
	bootID string
	// the order that is underway, or was last; its events are those of the actor
	order, actor string
	restarts     bool // it has come to its restart
	over         bool
}

// underway reports whether an order has begun, and its end was not told.
func (t *teller) underway() bool { return t.order != "" && !t.over }

// told is an event as it is sent, but for its id.
type told struct {
	message proto.Message
	begins  bool // it is the first of an order
}

// tell is what a node's event is in Talos's words; nothing where it has none.
func (t *teller) tell(e node.Event) (all []told) {
	switch is := e.Told.(type) {
	case node.Turn:
		return t.turn(e, is)
	case node.Progress:
		return phase(string(is.Step), is)
	case node.Task:
		action := wire.TaskEvent_ACTION_START
		if is.Done {
			action = wire.TaskEvent_ACTION_STOP
		}
		return one(&wire.TaskEvent{Task: text(string(is.Phase) + "/" + is.Name), Action: action})
	case node.Notice:
		return one(&wire.ServiceStateEvent{Service: serviceID, Action: wire.ServiceStateEvent_ACTION_RUNNING,
			Message: text(string(is))})
	}
	return nil
}

func one(message proto.Message) []told { return []told{{message: message}} }

// turn begins or ends an order. The restart that ends an upgrade begins before the upgrade is over: it is a phase of
// it, and of its actor.
func (t *teller) turn(e node.Event, is node.Turn) []told {
	if !isOrder(e.Operation) {
		return nil
	}
	part := e.Operation == rebootName && (t.restarts || !is.Done && t.underway())
	switch {
	case is.Done && is.Err != nil:
		t.over = t.over || part || !t.restarts
		return one(failed(sequenceOf(cmp.Or(t.order, e.Operation)), is.Err))
	case is.Done && part:
		t.over = true
		return one(&wire.PhaseEvent{Phase: restart, Action: wire.PhaseEvent_ACTION_STOP})
	case is.Done:
		t.over = t.over || !t.restarts
		return one(&wire.SequenceEvent{Sequence: sequenceOf(e.Operation), Action: wire.SequenceEvent_ACTION_STOP})
	case part:
		t.restarts = true
		return one(&wire.PhaseEvent{Phase: restart, Action: wire.PhaseEvent_ACTION_START})
	}
	t.order, t.actor, t.over, t.restarts = e.Operation, actor(t.bootID, e.ID), false, false
	return []told{{&wire.SequenceEvent{Sequence: sequenceOf(e.Operation), Action: wire.SequenceEvent_ACTION_START}, true}}
}

// phase is a step's beginning or end; nothing where only bytes have grown.
func phase(step string, is node.Progress) []told {
	switch {
	case is.Done:
		return one(&wire.PhaseEvent{Phase: step, Action: wire.PhaseEvent_ACTION_STOP})
	case is.File == "" && is.Bytes == 0:
		return one(&wire.PhaseEvent{Phase: step, Action: wire.PhaseEvent_ACTION_START})
	}
	return nil
}

// failed is the end of a sequence that a client takes as its failure: it has a message.
func failed(sequence string, err error) *wire.SequenceEvent {
	code := wire.Error_CODE_FATAL
	switch {
	case errors.Is(err, context.Canceled):
		code = wire.Error_CODE_CANCELED
	case errors.Is(err, node.ErrBusy):
		code = wire.Error_CODE_LOCKED
	}
	message := text(err.Error())
	if message == "" {
		message = "it failed"
	}
	return &wire.SequenceEvent{Sequence: sequence, Error: &wire.Error{Code: code, Message: message}}
}

// maxText bounds each text that is told, in bytes.
const maxText = 8 << 10

// text is valid: what is in an Any is not looked at any more.
func text(s string) string { return foreign.Text(s, maxText) }

// actors is the name space of actors.
var actors = uuid.MustParse("6c1a9b2e-3f0d-4f6e-9a51-0a9d1f2f7c53")

// actor names the order whose turn began with an event of a boot.
func actor(bootID string, event uint64) string {
	return uuid.NewSHA1(actors, fmt.Appendf(nil, "%s/%d", bootID, event)).String()
}

// actorOf names the order of that operation which began last in this boot. One that left no trace, such as a restart by
// force, has a name of its own.
func (m *machine) actorOf(ctx context.Context, operation string) (string, error) {
	found := uuid.NewString()
	t := &teller{bootID: m.s.About().BootID}
	err := m.s.Events(ctx, node.Since{}, func(e node.Event) error {
		for _, is := range t.tell(e) {
			if is.begins && t.order == operation {
				found = t.actor
			}
		}
		return nil
	})
	return found, err
}

// sortable is the alphabet of ids: it sorts as the bytes do.
var sortable = base32.HexEncoding.WithPadding(base32.NoPadding)

// id names an event as an xid does: seconds, then what is the same in a boot, then a number that rises.
func id(bootID string, at time.Time, number uint64) string {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], uint32(at.Unix()))
	binary.BigEndian.PutUint64(b[4:], crc64.Checksum([]byte(bootID), crc64.MakeTable(crc64.ISO))<<24|number&0xffffff)
	return strings.ToLower(sortable.EncodeToString(b[:]))
}

// event is a message as it is sent.
func event(message proto.Message, id, actor string) (*wire.Event, error) {
	value, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	name := "talos/runtime/machine." + string(message.ProtoReflect().Descriptor().Name())
	return &wire.Event{Data: &anypb.Any{TypeUrl: name, Value: value}, Id: id, ActorId: actor}, nil
}
