package main

import (
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
)

func TestANodeThatRunsTheImageAlreadyIsDoneAndTheNextFollows(t *testing.T) {
	for name, args := range map[string][]string{"waited for": {"--wait"}, "not waited for": nil} {
		t.Run(name, func(t *testing.T) {
			there := &fake{status: status("boot-1", "B", "B"), refuses: kind(connect.CodeFailedPrecondition, "same",
				"it runs already")}
			there.tells = true
			next := &fake{status: status("boot-1", "A", "A"), after: status("boot-2", "B", "B")}
			code, out, errs := pawl(t, []string{there.address(t), next.address(t)},
				append([]string{"upgrade", "--image", "os:2"}, args...)...)
			require.Zero(t, code, errs)
			require.Contains(t, out, "node1: already: 2 runs in slot B, confirmed\n")
			require.Len(t, next.asked, 1)
		})
	}
}

func TestANodeThatRunsTheImageButBootsAnotherNextIsNotDone(t *testing.T) {
	armed := status("boot-1", "B", "B")
	armed.Armed = "A"
	staged := status("boot-1", "B", "B")
	staged.Attempt = &pawlv1.Attempt{Phase: "staged"}
	for name, st := range map[string]*pawlv1.StatusResponse{"armed": armed, "staged": staged} {
		t.Run(name, func(t *testing.T) {
			f := &fake{status: st, tells: true, refuses: kind(connect.CodeFailedPrecondition, "same",
				"it runs already")}
			code, _, errs := pawl(t, []string{f.address(t)}, "upgrade", "--image", "os:2")
			require.Equal(t, exitError, code)
			require.Contains(t, errs, "the next boot is to be another version: `pawl rollback` takes that back")
		})
	}
}

func TestANodeWithTwoNamesIsTakenOnce(t *testing.T) {
	for verb, args := range map[string][]string{"upgrade": {"--image", "os:2"}, "reboot": nil} {
		t.Run(verb, func(t *testing.T) {
			f := &fake{status: status("boot-1", "A", "A"), service: "one"}
			other := &fake{status: status("boot-1", "A", "A"), service: "two"} // on the same kernel, say
			names := []string{f.address(t), other.address(t), f.address(t)}
			code, out, errs := pawl(t, names, append([]string{verb}, args...)...)
			require.Zero(t, code, errs)
			require.Contains(t, out, "node3: already: it is node1 under another name\n")
			require.Equal(t, 1, len(f.asked)+f.reboots)
			require.Equal(t, 1, len(other.asked)+other.reboots)
		})
	}
}
