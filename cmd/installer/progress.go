package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// showProgress prints a line for each step that ends, and, on a terminal, one that changes meanwhile; elsewhere one for
// each further tenth of a step that counts bytes.
func showProgress(c *cobra.Command) func(progress.Event) { return showProgressWide(c, 0) }

// showProgressWide does so with a width for a terminal that does not say its own.
func showProgressWide(c *cobra.Command, width int) func(progress.Event) {
	w := terminal.To(c.ErrOrStderr())
	width = cmp.Or(w.Width(), width)
	var tenth int64
	var how string
	var shown time.Time // when the line changed last
	return func(e progress.Event) {
		if e.How != "" {
			how = ", " + e.How
		}
		if width > 0 {
			switch {
			case e.Done || e.Err != nil:
				w.Printf("\r\x1b[K")
			case time.Since(shown) >= 50*time.Millisecond:
				shown = time.Now()
				line := show.Progress{Step: string(e.Step), File: e.File, Bytes: e.Bytes, Total: e.Total,
					Rate: e.Whole.Rate, Left: e.Whole.Left}
				w.Printf("\r\x1b[K%s", line.Line(width))
				return
			default:
				return
			}
		}
		switch {
		case e.Err != nil: // the command prints it
		case e.Done:
			w.Printf("%s: done in %.1fs%s\n", e.Step, e.Elapsed.Seconds(), how)
			how = ""
		case e.Total == 0:
			tenth = 0
		case e.Bytes*10/e.Total > tenth && e.Bytes < e.Total:
			tenth = e.Bytes * 10 / e.Total
			w.Printf("%s: %s %d0%%%s\n", e.Step, e.File, tenth, pace(e.Whole))
		}
	}
}

// pace is how fast it goes and how long it takes; empty if not known.
func pace(a progress.Amount) string {
	if a.Rate <= 0 {
		return ""
	}
	text := fmt.Sprintf(", %.1f MB/s", float64(a.Rate)/1e6)
	if a.Left > 0 {
		text += fmt.Sprintf(", %v left", max(a.Left.Round(time.Second), time.Second))
	}
	return text
}
