package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Phase names a part of the sequence around an upgrade that hooks can join.
type Phase string

// The phases, of an order that restarts the node. Those from lock to free disturb it; they run only when everything
// that can fail beforehand has been done, and before the commit point. One that fails ends the upgrade, and so does
// [PhaseLast]: what was done is undone in reverse.
const (
	PhaseAllow Phase = "allow" // may refuse, before anything is written; it disturbs nothing, so nothing undoes it
	// take what lets so many nodes be disturbed at a time: the first disturbance, undone last
	PhaseLock    Phase = "lock"
	PhaseCordon  Phase = "cordon"  // take no new work
	PhaseDrain   Phase = "drain"   // hand over the work there is
	PhaseLeave   Phase = "leave"   // leave what counts its members
	PhaseStop    Phase = "stop"    // stop services
	PhaseUnmount Phase = "unmount" // unmount what Config.Unmount names
	PhaseFree    Phase = "free"    // see that nothing holds it any more; has no hooks
	// the last look, after all that and before arm, or before the restart that applies what is staged
	PhaseLast Phase = "last"

	PhaseMount    Phase = "mount"    // undoes unmount
	PhaseResume   Phase = "resume"   // undoes stop
	PhaseRejoin   Phase = "rejoin"   // undoes leave; also after the restart, in whichever version runs
	PhaseUncordon Phase = "uncordon" // undoes cordon; likewise
	PhaseUnlock   Phase = "unlock"   // undoes lock; likewise, and only once nothing else is left to be undone

	PhaseShutdown Phase = "shutdown" // before every restart by order; an error is logged and holds nothing up

	// in a trial, before its checks: what the new version needs of the node's configuration
	PhaseMigrate Phase = "migrate"
	PhaseRevert  Phase = "migrate-back" // undoes migrate, in the old version after a fallback
)

// hookPhases are the phases that hooks can join.
var hookPhases = []Phase{
	PhaseAllow, PhaseLock, PhaseCordon, PhaseDrain, PhaseLeave, PhaseStop, PhaseUnmount, PhaseLast,
	PhaseMount, PhaseResume, PhaseRejoin, PhaseUncordon, PhaseUnlock, PhaseShutdown, PhaseMigrate, PhaseRevert,
}

// HookPhases lists the phases that hooks can join.
func HookPhases() []Phase { return slices.Clone(hookPhases) }

// disturbances are the phases that disturb, in order.
var disturbances = []disturbance{
	{name: PhaseLock, undo: PhaseUnlock, lasts: true, outlasts: true},
	{name: PhaseCordon, undo: PhaseUncordon, lasts: true},
	{name: PhaseDrain},
	{name: PhaseLeave, undo: PhaseRejoin, lasts: true},
	{name: PhaseStop, undo: PhaseResume},
	{name: PhaseUnmount, undo: PhaseMount, unmounts: true},
	{name: PhaseFree, unmounts: true},
}

// disturbance is a phase before the commit point.
type disturbance struct {
	name     Phase
	undo     Phase // empty: there is nothing to undo
	lasts    bool  // a restart does not undo it
	outlasts bool  // it is undone only once nothing else is left
	unmounts bool  // when it fails, services have been stopped and something does not let go: see Config.IfHeld
}

// HookDeadline is how long a hook may take when it does not say.
const HookDeadline = time.Minute

// ErrAlready is returned by a hook when it found everything as it should be, so that there is nothing to undo: a node
// that an administrator cordoned stays cordoned.
var ErrAlready = errors.New("it was so already")

// ErrRefused is returned for an order that a hook of [PhaseAllow] refuses. Nothing was changed. Do: read the message.
var ErrRefused = errors.New("refused")

// Hook is what an operating system does in a phase. Hooks of one phase run one after the other.
type Hook struct {
	Phase    Phase
	Name     string
	Deadline time.Duration // 0 is HookDeadline
	Run      func(context.Context, Occasion) error
}

// Occasion tells a hook what it is called for.
type Occasion struct {
	Phase     Phase           `json:"phase"`
	Operation string          `json:"operation"` // "upgrade to REF", "rollback", "reboot", "settle", "trial"
	BootID    string          `json:"boot_id"`
	Attempt   attempt.Attempt `json:"attempt"` // zero where there is none; in PhaseAllow what is planned, without an ID
	Force     bool            `json:"force"`   // the order was forced
	// Sure is for hooks that undo: the phase came to its end and changed something. If it is false the phase was cut
	// short, and the hook has to find out by itself whether there is something to undo.
	Sure bool `json:"sure"`
	// Tell tells whoever follows the operation, and status while the hook runs, what it does or waits for, in one line.
	Tell func(text string) `json:"-"`
}

// hooks are those of a phase.
func (s *Server) hooks(p Phase) (found []Hook) {
	for _, h := range s.config.Hooks {
		if h.Phase == p {
			found = append(found, h)
		}
	}
	return found
}

// runHooks runs the hooks of a phase and reports whether any of them did something. It stops at the first that fails,
// unless all are to be tried.
func (s *Server) runHooks(ctx context.Context, tell teller, o Occasion, all bool) (did bool, err error) {
	var errs []error
	o.BootID, o.Tell = s.bootID, func(text string) { tell.tell(Notice(text)) }
	for _, h := range s.hooks(o.Phase) {
		deadline := h.Deadline
		if deadline == 0 {
			deadline = HookDeadline
		}
		err := s.task(ctx, tell, o.Phase, Check{Name: h.Name, Deadline: deadline, Run: func(ctx context.Context) error {
			return h.Run(ctx, o)
		}})
		if errors.Is(err, ErrAlready) {
			continue
		}
		did = true
		if err != nil {
			errs = append(errs, fmt.Errorf("hook %q: %w", h.Name, err))
			if !all {
				break
			}
		}
	}
	return did, errors.Join(errs...)
}

// teller is whoever is told: an operation, or the journal alone.
type teller interface{ tell(Told) }

// task runs one hook or check, tells of it, and keeps to its deadline whatever it does.
func (s *Server) task(ctx context.Context, to teller, phase Phase, c Check) error {
	begun := time.Now()
	to.tell(Task{Phase: phase, Name: c.Name})
	err := c.run(ctx)
	t := Task{Phase: phase, Name: c.Name, Done: true, Elapsed: time.Since(begun)}
	if !errors.Is(err, ErrAlready) {
		t.Err = err
	}
	to.tell(t)
	return err
}
