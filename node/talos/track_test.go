package talos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/computer"
	"github.com/pawl-os/pawl/node"
)

// tracker waits for the end of an order as `talosctl --wait` does: see docs/reference/talosctl.md.
type tracker struct {
	c     *caller
	actor string
	said  []string
	// is called with each event; what it returns true for breaks the connection
	breaks func(name string) bool
}

var errBroken = errors.New("the connection broke")

// order gives an order, and follows it to its end: nil, or why it failed.
func (k *tracker) order(ctx context.Context, path string, request ...[]byte) error {
	stream, err := k.c.open(ctx, "/machine.MachineService/Events", nil)
	if err != nil {
		return err
	}
	defer func() { stream.Body.Close() }()
	if first, err := stream.next(); err != nil || len(first) > 0 {
		return fmt.Errorf("the first message is to be empty: %x, %v", first, err)
	}
	before, err := k.boot(ctx)
	if err != nil {
		return err
	}
	answer, err := k.c.call(ctx, path, request...)
	if err != nil {
		return err
	}
	if k.actor = at(answer[0], 1, 3); strings.HasSuffix(path, "Reboot") {
		k.actor = at(answer[0], 1, 2)
	}
	if k.actor == "" {
		return errors.New("the answer names no actor")
	}
	for {
		ready, err := k.read(stream)
		if ready {
			break
		}
		if failure := (sequenceError{}); errors.As(err, &failure) {
			return err
		}
		stream.Body.Close()
		for { // from now on it looks for all, and for events of nobody
			if k.actor = ""; ctx.Err() != nil {
				return ctx.Err()
			}
			next, err := k.c.open(ctx, "/machine.MachineService/Events", f(1, -1))
			if err == nil {
				stream = next
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	for {
		if now, err := k.boot(ctx); err == nil && now != before {
			return nil
		}
		if ctx.Err() != nil {
			return errors.New("it says that it runs, and the boot is the same: " + strings.Join(k.said, ", "))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type sequenceError struct{ text string }

func (e sequenceError) Error() string { return "sequence error: " + e.text }

// read reads events until one says that the machine runs and is ready, or that the sequence failed.
func (k *tracker) read(stream *reader) (ready bool, err error) {
	for {
		event, err := stream.next()
		if err != nil {
			return false, err
		}
		if len(event) == 0 {
			continue
		}
		name, value := strings.TrimPrefix(at(event, 2, 1), "talos/runtime/machine."), []byte(at(event, 2, 2))
		switch name {
		case "MachineStatusEvent":
			k.said = append(k.said, fmt.Sprintf("stage %s %s", at(value, 1), at(value, 2, 1)))
			if at(value, 1) == "4" && at(value, 2, 1) == "1" {
				return true, nil
			}
		case "SequenceEvent":
			k.said = append(k.said, fmt.Sprintf("sequence %s %s", at(value, 1), at(value, 3, 2)))
			if at(value, 1) == "reboot" { // a client opens its stream anew then, without the past
				return false, sequenceError{"a sequence is called reboot"}
			}
			if text := at(value, 3, 2); text != "" && at(event, 4) == k.actor {
				return false, sequenceError{text}
			}
		case "PhaseEvent", "TaskEvent", "ServiceStateEvent":
		default:
			return false, sequenceError{"an event that is not known: " + name}
		}
		if k.breaks != nil && k.breaks(name) {
			return false, errBroken
		}
	}
}

func (k *tracker) boot(ctx context.Context) (string, error) {
	answer, err := k.c.call(ctx, "/machine.MachineService/Read", f(1, "/proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "", err
	}
	return at(answer[0], 2), nil
}

// A client that waits hears what became of the order, whatever happens to its connection.
func TestAClientThatWaitsHearsTheTruth(t *testing.T) {
	t.Parallel()
	sick := []node.Check{{Name: "disk", Run: func(context.Context) error { return errors.New("it smells") }}}
	slow := []node.Check{{Name: "slow", Run: func(context.Context) error {
		time.Sleep(300 * time.Millisecond)
		return nil
	}}}
	no := []node.Hook{{Phase: node.PhaseDrain, Name: "pods", Run: func(context.Context, node.Occasion) error {
		return errors.New("the pods stay")
	}}}
	for name, test := range map[string]struct {
		first, two computer.Software
		breaks     bool // the connection, as soon as anything is told
		failure    string
		boots      []string
	}{
		"it is confirmed, after the connection broke": {two: computer.Software{Checks: slow}, breaks: true,
			boots: []string{"1.0.0 in A", "2.0.0 in B on trial"}},
		"it does not start, after the connection broke": {two: computer.Software{Dies: true}, breaks: true,
			failure: "the new version is not known to have started",
			boots:   []string{"1.0.0 in A", "2.0.0 in B on trial", "1.0.0 in A"}},
		"a check says no": {two: computer.Software{Checks: sick}, failure: `check "disk": it smells`,
			boots: []string{"1.0.0 in A", "2.0.0 in B on trial", "1.0.0 in A"}},
		"it fails before the restart": {first: computer.Software{Hooks: no}, failure: "the pods stay",
			boots: []string{"1.0.0 in A"}},
		"it fails before the restart, after the connection broke": {first: computer.Software{Hooks: no}, breaks: true,
			failure: "the pods stay", boots: []string{"1.0.0 in A"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.first.Version, test.two.Version = "1.0.0", "2.0.0"
			s := newSite(t, test.first, Options{})
			ref := s.Image(test.two)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			k := &tracker{c: s.as("os:admin")}
			if test.breaks {
				k.breaks = func(string) bool { k.breaks = nil; return true }
			}
			err := k.order(ctx, "/machine.MachineService/Upgrade", f(1, ref))
			if test.failure == "" {
				require.NoError(t, err, "%s", strings.Join(k.said, "\n"))
				require.Equal(t, "v2.0.0", at(k.c.one(t, "/machine.MachineService/Version"), 1, 2, 1))
			} else {
				require.ErrorAs(t, err, new(sequenceError), "%s", strings.Join(k.said, "\n"))
				require.ErrorContains(t, err, test.failure)
			}
			require.Equal(t, test.boots, s.Boots())
		})
	}
}

// Two orders of a client of 1.13: write and arm, then restart. The restart reports what became of the trial.
func TestAnUpgradeInTwoOrders(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.14.0"}, Options{})
	c := s.as("os:admin")
	require.Equal(t, "v1.14.0", at(c.one(t, "/machine.MachineService/Version"), 1, 2, 1))
	for _, two := range []struct {
		software computer.Software
		failure  string
	}{
		{computer.Software{Version: "1.14.1", Dies: true}, "the new version is not known to have started"},
		{computer.Software{Version: "1.14.2"}, ""},
	} {
		ref := s.Image(two.software)
		require.Equal(t, ref, at(c.one(t, "/machine.ImageService/Pull", f(1, f(1, 0)), f(3, ref)), 1))
		told, err := c.call(t.Context(), "/machine.LifecycleService/Upgrade", f(1, f(1, 0)), f(2, f(1, ref)))
		require.NoError(t, err)
		require.Equal(t, "resolve", at(told[0], 1, 1))
		require.Len(t, all([]byte(at(told[len(told)-1], 1)), 2), 1, "an exit code, though it is 0")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		k := &tracker{c: c}
		err = k.order(ctx, "/machine.MachineService/Reboot")
		if two.failure == "" {
			require.NoError(t, err, "%s", strings.Join(k.said, "\n"))
		} else {
			require.ErrorContains(t, err, two.failure, "%s", strings.Join(k.said, "\n"))
		}
	}
	// A restart after that is reported by itself, and a fallback that is over is not.
	c.one(t, "/machine.MachineService/Rollback")
	require.Eventually(t, func() bool {
		boots := s.Boots()
		return boots[len(boots)-1] == "1.14.0 in A on trial"
	}, 10*time.Second, 10*time.Millisecond, "%v", s.Boots())
	require.Eventually(t, func() bool {
		answer, err := c.call(t.Context(), "/machine.MachineService/ServiceList")
		return err == nil && at(answer[0], 1, 2, 4, 2) == "1"
	}, 10*time.Second, 10*time.Millisecond)
	k := &tracker{c: c}
	require.NoError(t, k.order(t.Context(), "/machine.MachineService/Reboot", f(1, 1)))
}
