package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
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
				if !c.json() {
					printStatus(c.out, node.Node, st, *whole)
				}
			}, err
		})
	})
}

func printStatus(w *terminal.Printer, node string, st *pawlv1.StatusResponse, whole bool) {
	version := st.Version
	if version == "" {
		version = "an unknown version"
	}
	state := "confirmed"
	switch {
	case st.Active == "":
		state = "slot not known"
	case st.Unordered != "":
		state = "not confirmed, and ordered by no attempt"
	case st.Trial && st.Checks != nil && st.Checks.State == "failed":
		state = "on trial, given up: " + st.Checks.Reason
	case st.Trial:
		state = "on trial"
	}
	slot := ""
	if st.Active != "" {
		slot = " in slot " + st.Active
	}
	w.Printf("%s: %s%s, %s (boot %s)\n", node, version, slot, state, st.BootId)
	var rows [][]string
	row := func(cells ...string) { rows = append(rows, cells) }
	for _, s := range st.Slots {
		what := []string{s.Content, s.Version, show.Short(s.Image), s.Reference}
		if s.Problem != "" {
			what = []string{s.Content, "(" + s.Problem + ")"}
		}
		row("slot "+s.Name, strings.Join(strings.Fields(strings.Join(what, " ")), " "), strings.Join(roles(st, s.Name),
			", "))
	}
	if st.Loader != "" {
		row("loader", st.Loader)
	}
	if a := st.Attempt; a != nil {
		row("attempt", outcome(a))
		if a.Staging != "" {
			row("staging", a.Staging)
		}
		if a.Reached != "" && a.Result != "confirmed" {
			row("reached", a.Reached)
		}
		for i, line := range lastWords(a, whole) {
			row([]string{"kernel", ""}[min(i, 1)], line)
		}
	}
	if op := st.Operation; op != nil && (op.Running || op.Error != "") {
		row("operation", operation(op))
	}
	if ch := st.Checks; ch != nil && ch.Running != "" && ch.State == "running" {
		row("check", fmt.Sprintf("%q runs, until %s", ch.Running, ch.Deadline.AsTime().Format(time.RFC3339)))
	}
	if st.Unordered != "" {
		row("unordered", st.Unordered+"; it is not confirmed by itself (`pawl confirm` keeps it, `pawl rollback` "+
			"goes back)")
	}
	if ch := st.Checks; ch != nil && onlyOurs(ch) && st.Trial {
		row("checks", "only Pawl's own: this version is confirmed once the service can read its machine")
	}
	if st.Watchdog != "" {
		row("watchdog", st.Watchdog)
	}
	for _, b := range st.KnownBad {
		row("bad", fmt.Sprintf("%s %s: %s", b.Version, show.Short(b.Image), b.Reason))
	}
	if st.Blocked != "" {
		row("blocked", st.Blocked)
	}
	if st.Problem != "" {
		row("problem", st.Problem)
	}
	for _, text := range st.Undoing {
		row("to undo", text+" (it is tried again)")
	}
	for _, text := range st.Notes {
		row("note", text)
	}
	for _, text := range st.Warnings {
		row("warning", text)
	}
	w.Rows("  ", rows)
}

// onlyOurs reports whether all checks of a trial are Pawl's own. A node of an earlier version does not say whose they
// are; there the service's is the first, and pawld's is called "listen".
func onlyOurs(ch *pawlv1.Checks) bool {
	if len(ch.Own) == 0 {
		return len(ch.Names) == 1 || len(ch.Names) == 2 && ch.Names[1] == "listen"
	}
	return len(ch.Own) == len(ch.Names)
}

// lastLines is how much of a kernel's log is shown when not all of it is asked for.
const lastLines = 6

// lastWords is what is shown of the log of a failed trial's kernel: all that is kept, or from its panic on a few lines.
func lastWords(a *pawlv1.Attempt, whole bool) []string {
	if a.Log == "" {
		return nil
	}
	lines := strings.Split(a.Log, "\n")
	if whole || len(lines) <= lastLines {
		return lines
	}
	from := len(lines) - lastLines
	for i, line := range lines {
		if a.Panic != "" && strings.Contains(line, a.Panic) {
			from = min(i, from)
			break
		}
	}
	return append(lines[from:from+lastLines:from+lastLines], "... (all of it: pawl status --log)")
}

// roles says what a slot is at the moment.
func roles(st *pawlv1.StatusResponse, slot string) []string {
	var r []string
	if st.Active == slot {
		r = append(r, "active")
	}
	if st.Default == slot {
		r = append(r, "default")
	}
	if st.Armed == slot {
		by := ""
		if st.ArmedBy != "" {
			by = " by " + st.ArmedBy
		}
		r = append(r, fmt.Sprintf("armed for %d boot(s)%s", st.Tries, by))
	}
	return r
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
		return fmt.Sprintf("%s: %s, %s of %s", op.Name, p.Step, show.Size(p.Bytes), show.Size(p.Total))
	default:
		return fmt.Sprintf("%s: %s", op.Name, p.Step)
	}
}
