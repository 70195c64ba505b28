package talos

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// story is what a list of events is in Talos's words, with the first letters of the actor, and where an order begins.
func story(events ...node.Event) (lines []string) {
	t := teller{bootID: "boot-1"}
	for i, e := range events {
		e.ID, e.BootID = uint64(i+1), "boot-1"
		for _, is := range t.tell(e) {
			line := fmt.Sprintf("%s %v", is.message.ProtoReflect().Descriptor().Name(), is.message)
			line = strings.Join(strings.Fields(line), " ")
			if is.begins {
				line = "begins: " + line
			}
			lines = append(lines, fmt.Sprintf("%s underway=%v", line, t.underway()))
		}
	}
	return lines
}

func turn(operation string) node.Event { return node.Event{Operation: operation, Told: node.Turn{}} }

func over(operation string, err error) node.Event {
	return node.Event{Operation: operation, Told: node.Turn{Done: true, Err: err}}
}

func TestAnOrderIsToldAsASequence(t *testing.T) {
	step := func(e progress.Event) node.Event { return node.Event{Told: node.Progress{Event: e}} }
	require.Equal(t, []string{
		`begins: SequenceEvent sequence:"upgrade" action:ACTION_START underway=true`,
		`PhaseEvent phase:"write" underway=true`,
		`PhaseEvent phase:"write" action:ACTION_STOP underway=true`,
		`TaskEvent task:"drain/pods" underway=true`,
		`ServiceStateEvent service:"pawld" action:ACTION_RUNNING message:"two pods are left" underway=true`,
		`PhaseEvent phase:"restart" underway=true`,
		`SequenceEvent sequence:"upgrade" action:ACTION_STOP underway=true`,
		`PhaseEvent phase:"restart" action:ACTION_STOP underway=false`,
	}, story(turn("upgrade to os:2"), step(progress.Event{Step: "write"}),
		step(progress.Event{Step: "write", File: "os.efi"}), step(progress.Event{Step: "write", Done: true}),
		node.Event{Told: node.Task{Phase: node.PhaseDrain, Name: "pods"}}, node.Event{Told: node.Notice("two pods are left")},
		node.Event{Told: node.Call{Method: "Status"}}, turn("set META value 0x0c"), over("set META value 0x0c", nil),
		turn("reboot"), over("upgrade to os:2", nil), over("reboot", nil)))
}

func TestTheEndOfAnOrderThatFails(t *testing.T) {
	sick := errors.New("it smells")
	require.Equal(t, []string{
		`begins: SequenceEvent sequence:"upgrade" action:ACTION_START underway=true`,
		`SequenceEvent sequence:"upgrade" error:{message:"it smells"} underway=false`,
		`begins: SequenceEvent sequence:"restart" action:ACTION_START underway=true`,
		`SequenceEvent sequence:"restart" error:{message:"it smells"} underway=false`,
	}, story(turn("upgrade to os:2"), over("upgrade to os:2", sick), turn("reboot"), over("reboot", sick)))
	require.Equal(t, []string{
		`begins: SequenceEvent sequence:"rollback" action:ACTION_START underway=true`,
		`PhaseEvent phase:"restart" underway=true`,
		`SequenceEvent sequence:"rollback" error:{message:"it smells"} underway=true`,
		`PhaseEvent phase:"restart" action:ACTION_STOP underway=false`,
	}, story(turn("rollback"), turn("reboot"), over("rollback", sick), over("reboot", nil)),
		"and it restarts all the same")
	require.Equal(t, []string{
		`begins: SequenceEvent sequence:"rollback" action:ACTION_START underway=true`,
		`PhaseEvent phase:"restart" underway=true`,
		`SequenceEvent sequence:"rollback" action:ACTION_STOP underway=true`,
		`SequenceEvent sequence:"rollback" error:{message:"it smells"} underway=false`,
	}, story(turn("rollback"), turn("reboot"), over("rollback", nil), over("reboot", sick)), "it cannot restart")
	require.Equal(t, []string{`SequenceEvent sequence:"upgrade" error:{message:"it failed"} underway=false`},
		story(over("upgrade to os:2", errors.New(""))), "an error without a text would be none; the beginning is lost")
}
