package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// pollEvery is the pause between two looks at a node; pollTime bounds one look.
const (
	pollEvery = 500 * time.Millisecond
	pollTime  = 5 * time.Second
)

// Change is one new thing that Wait saw of a node.
type Change struct {
	Text   string                 // one line for people
	Status *pawlv1.StatusResponse // nil while the node does not answer
}

// AwaitAnswer looks at the node until it answers and has started, and returns its state; nil if it cannot tell it, but
// answers. It calls unseen once if that was not so at first. When ctx ends before, the error is why it did not answer.
// A name that nobody knows is not waited for.
func (c *Client) AwaitAnswer(ctx context.Context, unseen func(why error)) (*pawlv1.StatusResponse, error) {
	var why error
	for {
		limited, cancel := context.WithTimeout(ctx, pollTime)
		st, err := c.Status(limited)
		cancel()
		var unknown *net.DNSError
		switch kind := ErrorKind(err); {
		case ctx.Err() == context.Canceled:
			return nil, err
		case errors.As(err, &unknown) && unknown.IsNotFound:
			return nil, err // no restart takes a name away
		case kind == Untrusted || kind == Unknown || kind == denied:
			return nil, err // nor gives a certificate
		case ctx.Err() != nil && why != nil:
			return nil, why
		case kind != Unreachable && kind != Timeout && kind != Starting:
			return st, nil
		case why == nil:
			unseen(err)
		}
		why = err
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// Wait looks at the node until it has started again and what runs is what e expects, for good: confirmed, if e is a
// trial, with nothing left of what the upgrade disturbed. It returns the node's state then. It calls seen, which may be
// nil, at every change. The error's kind is FellBack when another version runs, with what is known of why; Timeout when
// ctx ends first, with what was seen last.
func (c *Client) Wait(ctx context.Context, e *pawlv1.Expected, seen func(Change)) (*pawlv1.StatusResponse, error) {
	last := "nothing was seen of it yet"
	for {
		limited, cancel := context.WithTimeout(ctx, pollTime)
		st, err := c.Status(limited)
		cancel()
		v := view{verdict: pending, text: "the node does not answer while it restarts"}
		if kind := ErrorKind(err); err == nil {
			v = judge(e, st)
		} else if kind == Starting {
			v.text = "the node is starting"
		} else if kind != Unreachable && kind != Timeout && kind != "cancelled" { // by the time that one look may take
			v.text = "the node answers with an error: " + textOf(err)
		}
		if ctx.Err() == nil && v.text != last && seen != nil {
			seen(Change{Text: v.text, Status: st})
		}
		if ctx.Err() == nil {
			last = v.text
		}
		switch v.verdict {
		case done:
			return st, nil
		case lost:
			return st, &Error{Node: c.Node, Kind: v.kind, Text: v.text}
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return nil, &Error{Node: c.Node, Kind: "cancelled", Text: "no longer waited for; last: " + last,
					err: ctx.Err()}
			}
			return nil, &Error{Node: c.Node, Kind: Timeout, Text: fmt.Sprintf("not there in time; last: %s", last),
				err: ctx.Err()}
		}
	}
}

type verdict int

const (
	pending verdict = iota
	done
	lost
)

// view is what a state means to somebody who waits.
type view struct {
	verdict verdict
	kind    string // of the error, when lost
	text    string
}

// judge compares what a node is with what it should become.
func judge(e *pawlv1.Expected, st *pawlv1.StatusResponse) view {
	if st.BootId == e.BootId {
		return sameBoot(e, st)
	}
	var running *pawlv1.Slot
	for _, slot := range st.Slots {
		if slot.Name == st.Active {
			running = slot
		}
	}
	if running == nil {
		return view{pending, "", fmt.Sprintf("boot %s: which slot runs is not known yet", short(st.BootId))}
	}
	here := fmt.Sprintf("boot %s: %s in slot %s", short(st.BootId), name(st, running), st.Active)
	switch {
	case e.Image == "":
		return view{done, "", here}
	case running.Image == e.Image && (e.Slot == "" || e.Slot == st.Active):
		return arrived(e, st, here)
	case e.Trial && st.Attempt != nil && (st.Attempt.Id == e.Attempt || e.Attempt == "" &&
		st.Attempt.Image == e.Image) && st.Attempt.Phase == "staged":
		return view{pending, "", fmt.Sprintf("%s; the upgrade to %s is %s", here, e.Version, st.Attempt.Staging)}
	case e.Trial && e.Slot != "" && st.Armed == e.Slot:
		return view{pending, "", fmt.Sprintf("%s; slot %s is still armed", here, e.Slot)}
	case e.Trial:
		return view{lost, FellBack, fmt.Sprintf("fell back: %s in slot %s runs, not %s in slot %s; %s",
			name(st, running), st.Active, e.Version, e.Slot, why(e, st))}
	}
	return view{lost, FellBack, fmt.Sprintf("%s in slot %s runs, expected was %s in slot %s", name(st, running),
		st.Active, e.Version, e.Slot)}
}

// sameBoot is before the restart.
func sameBoot(e *pawlv1.Expected, st *pawlv1.StatusResponse) view {
	op, a := st.Operation, st.Attempt
	switch {
	case !op.GetRunning() && e.Trial && a.GetResult() == "abandoned" && a.BootEnded == st.BootId && a.Image == e.Image:
		return view{lost, "unknown", "the upgrade is over: " + a.Reason} // the service was started anew
	case op == nil:
		return view{pending, "", "the node has not restarted yet"}
	case op.Running && op.Notice != "":
		return view{pending, "", fmt.Sprintf("%s: %s", op.Name, op.Notice)}
	case op.Running && op.Progress != nil:
		return view{pending, "", fmt.Sprintf("%s: %s", op.Name, op.Progress.Step)}
	case op.Running:
		return view{pending, "", op.Name}
	case op.Error != "":
		return view{lost, "unknown", op.Error}
	}
	return view{pending, "", "the node has not restarted yet"}
}

// arrived is a boot of what was expected.
func arrived(e *pawlv1.Expected, st *pawlv1.StatusResponse, here string) view {
	switch {
	case !st.Trial && e.Trial && len(st.Undoing) > 0:
		return view{pending, "", fmt.Sprintf("%s, confirmed; still to be undone: %s", here,
			strings.Join(st.Undoing, "; "))}
	case !st.Trial && e.Trial:
		return view{done, "", here + ", confirmed"}
	case !st.Trial:
		return view{done, "", here}
	case st.Unordered != "":
		return view{lost, Unordered, fmt.Sprintf("%s, and no attempt ordered this boot, so it is not confirmed by "+
			"itself: %s", here, st.Unordered)}
	case st.Checks != nil && st.Checks.State == "failed":
		return view{pending, "", fmt.Sprintf("%s, on trial, is given up: %s", here, st.Checks.Reason)}
	case st.Checks != nil && st.Checks.Running != "":
		return view{pending, "", fmt.Sprintf("%s, on trial: check %q runs", here, st.Checks.Running)}
	}
	return view{pending, "", here + ", on trial"}
}

// why is what is known of the reason of a fallback.
func why(e *pawlv1.Expected, st *pawlv1.StatusResponse) string {
	a := st.Attempt
	switch {
	case a == nil || e.Attempt != "" && a.Id != e.Attempt || a.Image != e.Image:
		return "the node has no record of the attempt, so nothing is known of the reason"
	case a.Reason == "":
		return "nothing is known of the reason"
	}
	return "reason: " + a.Reason
}

// name is how a person calls what runs.
func name(st *pawlv1.StatusResponse, running *pawlv1.Slot) string {
	switch {
	case running.Version != "":
		return running.Version
	case st.Version != "":
		return st.Version
	}
	return "an unknown version"
}

func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}
