package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "What the nodes run, hold, and did last"}
	whole := cmd.Flags().Bool("log", false, "show all that is kept of a failed trial's kernel log")
	return c.verb(cmd, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		c.warnOwn()
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			st, err := node.Status(ctx)
			return func() {
				c.object(node, "status", st)
				if !c.structured() {
					shown(node.Node, st).Print(c.out, *whole)
				}
			}, err
		})
	})
}

// shown is what a node tells, as it is shown.
func shown(node string, st *pawlv1.StatusResponse) show.Status {
	s := show.Status{
		Program: "pawl", Node: node, Version: st.Version, Boot: st.BootId, Loader: st.Loader, Active: st.Active,
		Default: st.Default, Armed: st.Armed, ArmedBy: st.ArmedBy, Tries: st.Tries, Trial: st.Trial,
		Unordered: st.Unordered, Watchdog: st.Watchdog, Problem: st.Problem, Undoing: st.Undoing, Notes: st.Notes,
		Blocked: st.Blocked, Warnings: st.Warnings,
	}
	for _, slot := range st.Slots {
		s.Slots = append(s.Slots, show.Slot{Name: slot.Name, Content: slot.Content, Version: slot.Version,
			Image: slot.Image, Reference: slot.Reference, Problem: slot.Problem})
	}
	if a := st.Attempt; a != nil {
		s.Attempt = &show.Attempt{Text: outcome(a), Confirmed: a.Result == "confirmed", Staging: a.Staging,
			Reached: a.Reached, Panic: a.Panic, Log: a.Log}
	}
	if op := st.Operation; op != nil && (op.Running || op.Error != "") {
		s.Operation = operation(op)
	}
	if ch := st.Checks; ch != nil {
		s.OwnChecks = onlyOurs(ch)
		if ch.State == "failed" {
			s.GivenUp = cmp.Or(ch.Reason, "for no reason that is known")
		}
		if ch.Running != "" && ch.State == "running" {
			s.Check = fmt.Sprintf("%q runs, until %s", ch.Running, ch.Deadline.AsTime().Format(time.RFC3339))
		}
	}
	for _, b := range st.KnownBad {
		s.KnownBad = append(s.KnownBad, show.Bad{Version: b.Version, Image: b.Image, Reason: b.Reason})
	}
	return s
}

// onlyOurs reports whether all checks of a trial are Pawl's own. A node of an earlier version does not say whose they
// are; there the service's is the first, and pawld's is called "listen".
func onlyOurs(ch *pawlv1.Checks) bool {
	if len(ch.Own) == 0 {
		return len(ch.Names) == 1 || len(ch.Names) == 2 && ch.Names[1] == "listen"
	}
	return len(ch.Own) == len(ch.Names)
}

// outcome says what became of an attempt.
func outcome(a *pawlv1.Attempt) string {
	text := fmt.Sprintf("%s from %s (slot %s) to %s (slot %s): ", a.Kind, a.OldVersion, a.From, a.Version, a.To)
	if a.Result != "" {
		text += a.Result
	} else {
		text += a.Phase
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}

func operation(op *pawlv1.Operation) string {
	switch p := op.Progress; {
	case op.Error != "":
		return op.Name + " failed: " + op.Error
	case op.Notice != "":
		return op.Name + ": " + op.Notice
	case p == nil:
		return op.Name
	case p.Total > 0:
		return fmt.Sprintf("%s: %s, %s of %s", op.Name, p.Step, bytesize.Text(p.Bytes), bytesize.Text(p.Total))
	default:
		return fmt.Sprintf("%s: %s", op.Name, p.Step)
	}
}
