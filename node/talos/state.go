package talos

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/talos/wire"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// state is what the machine is, in Talos's words. A client takes "running and ready" as the success of what it waits
// for, whichever version runs, so these are neither:
//
//	while this boot is not recorded, or the disk does not answer
//	while an upgrade, a rollback or a restart is underway; one that is staged is, until it has been applied
//	a trial, until it is confirmed; a boot that no attempt ordered, until a person has confirmed it
//	a node on which not all is undone that an upgrade disturbed
type state struct {
	stage wire.MachineStatusEvent_Stage
	unmet string // the condition that is not met; empty when it is ready
	why   string
}

func (s state) ready() bool { return s.unmet == "" && s.stage == wire.MachineStatusEvent_STAGE_RUNNING }

func (s state) event() *wire.MachineStatusEvent {
	e := &wire.MachineStatusEvent{Stage: s.stage, Status: &wire.MachineStatus{Ready: s.ready()}}
	if s.unmet != "" {
		e.Status.UnmetConditions = []*wire.UnmetCondition{{Name: s.unmet, Reason: text(s.why)}}
	}
	return e
}

// soon is how long a look at the state may wait for this boot to be recorded.
const soon = 50 * time.Millisecond

// look is what the machine is now.
func (m *machine) look(ctx context.Context) (state, node.Status) {
	limited, cancel := context.WithTimeoutCause(ctx, soon, node.ErrStarting)
	err := m.s.Recorded(limited)
	cancel()
	if err != nil {
		return state{wire.MachineStatusEvent_STAGE_BOOTING, "start", err.Error()}, node.Status{}
	}
	st, err := m.s.Status(ctx)
	if err != nil {
		return state{wire.MachineStatusEvent_STAGE_UNKNOWN, "disk", err.Error()}, node.Status{}
	}
	return stateOf(st), st
}

// stateOf is the state that a status tells of.
func stateOf(st node.Status) state {
	const running, booting, upgrading, rebooting = wire.MachineStatusEvent_STAGE_RUNNING,
		wire.MachineStatusEvent_STAGE_BOOTING, wire.MachineStatusEvent_STAGE_UPGRADING,
		wire.MachineStatusEvent_STAGE_REBOOTING
	a, checks := st.Attempt, st.Checks
	switch op := st.Operation; {
	case op != nil && op.Running && op.Name == rebootName:
		return state{rebooting, op.Name, "the machine restarts"}
	case op != nil && op.Running && isOrder(op.Name):
		return state{upgrading, sequenceOf(op.Name), op.Name}
	case st.Unordered != "":
		return state{running, "unordered", st.Unordered}
	case checks != nil && checks.State == node.TrialFailed:
		return state{rebooting, "trial", checks.Reason}
	case checks != nil && checks.State == node.TrialRunning:
		return state{booting, "trial", fmt.Sprintf("check %q runs", checks.Running)}
	case st.Loader.Trial():
		return state{booting, "trial", "it is not confirmed yet"}
	case a != nil && a.Open() && a.Stage && a.Boots.Prepared != st.BootID:
		return state{upgrading, "stage", "the staged upgrade to " + a.Version + " is not applied yet"}
	case len(st.Undoing) > 0:
		return state{running, "undoing", st.Undoing[0]}
	case st.Problem != "":
		return state{running, "start", st.Problem}
	}
	return state{stage: running}
}

// fate is why the version that was to run does not, where that came out in this boot; nil if there is nothing of that
// kind to tell. It is not told any more once an order was given in this boot: then that one is what a client waits for.
func fate(st node.Status) *wire.SequenceEvent {
	a := st.Attempt
	switch {
	case st.Unread != nil:
		return failed("upgrade", fmt.Errorf("it is not known whether this version is here to stay, or was fallen back to: "+
			"%w", st.Unread))
	case a == nil || a.Open() || a.Result == attempt.Confirmed || a.Boots.Ended != st.BootID:
		return nil
	case a.Reason == "":
		return failed(string(a.Kind), fmt.Errorf("to %s: %s; why is not known", a.Version, a.Result))
	}
	return failed(string(a.Kind), fmt.Errorf("to %s: %s: %s", a.Version, a.Result, a.Reason))
}
