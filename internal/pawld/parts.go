package pawld

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/hookdir"
	"github.com/pawl-os/pawl/node/watchdog"
)

// trialFlags are how a version is tried, and for how long.
func trialFlags(flags *flag.FlagSet) func(*node.Config) error {
	deadline := within(flags, "trial-deadline", node.TrialDeadline, time.Second, longest,
		"how long a trial may take until it is confirmed")
	window := within(flags, "window", 0, 0, longest,
		"how long the checks must go on to hold before a trial is confirmed")
	way := checked(flags, "trial", "", oneOf("trial", "one-shot", "boot-next", "counting"),
		"how systemd-boot tries a version when an order does not say: one-shot (default), boot-next, counting")
	return func(c *node.Config) error {
		c.TrialDeadline, c.Window, c.Machine.Way = *deadline, *window, *way
		if err := bootloader.CheckWay(loaders.All(), *way); err != nil {
			return fmt.Errorf("--%w", err)
		}
		return nil
	}
}

// hookFlags are the operator's executables.
func hookFlags(flags *flag.FlagSet) func(*node.Config) error {
	dir := checked(flags, "hooks", "", anything,
		"directory of executables: PHASE/NAME for each phase around an upgrade, and checks/NAME;\nwithout checks a "+
			"trial is confirmed once the service can read its machine")
	deadline := within(flags, "hook-deadline", node.HookDeadline, time.Millisecond, longest,
		"how long each executable of --hooks may take")
	return func(c *node.Config) error {
		if *dir == "" {
			return nil
		}
		o := hookdir.Options{Deadline: *deadline, Log: c.Log}
		c.Load = func(context.Context) ([]node.Check, []node.Hook, error) {
			hooks, err1 := hookdir.Hooks(*dir, o)
			checks, err2 := hookdir.Checks(*dir, o)
			return checks, hooks, errors.Join(err1, err2)
		}
		return nil
	}
}

// unmountFlags are what is unmounted before a trial is armed.
func unmountFlags(flags *flag.FlagSet) func(*node.Config) error {
	unmount := checked(flags, "unmount", "", labels,
		"labels of partitions to unmount before a trial is armed, separated by commas: EPHEMERAL,STATE")
	deadline := within(flags, "let-go", node.UnmountDeadline, time.Millisecond, longest,
		"how long what holds a partition of --unmount may take to let go")
	stuck := checked(flags, "stuck", "reboot", oneOf("stuck", "reboot", "undo"),
		"when the partitions of --unmount cannot be unmounted, after services were stopped: reboot into the running "+
			"version, or undo")
	return func(c *node.Config) error {
		c.UnmountDeadline = *deadline
		if *unmount != "" {
			c.Unmount = strings.Split(*unmount, ",")
		}
		switch *stuck {
		case "reboot":
		case "undo":
			c.IfHeld = node.HeldUndo
		default:
			return fmt.Errorf("--stuck %q: want reboot or undo", *stuck)
		}
		return nil
	}
}

// watchdogFlags are the hardware that resets the machine.
func watchdogFlags(flags *flag.FlagSet) func(*node.Config) error {
	dog := checked(flags, "watchdog", watchdog.Auto, device,
		"hardware that resets the machine when a trial hangs, or the restart of an upgrade: auto, off, or "+
			"/dev/watchdogN")
	timeout := within(flags, "watchdog-timeout", 0, time.Second, time.Hour,
		"how long after the service fed it last the watchdog resets the machine (default 30s)")
	always := flags.Bool("watchdog-always", false, "feed the watchdog also outside of trials, as long as pawld runs")
	return func(c *node.Config) error {
		if *dog != "off" {
			c.Watchdog = node.Watchdog{Device: *dog, Timeout: *timeout, Always: *always}
		}
		return nil
	}
}
