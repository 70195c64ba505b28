package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// bar shows the progress of one node: a line that changes on a terminal, one line a finished step elsewhere.
type bar struct {
	out   *terminal.Printer
	node  string
	width int // of the terminal; 0 elsewhere
	shown bool
}

func newBar(out *terminal.Printer, node string) *bar {
	return &bar{out: out, node: node, width: out.Width()}
}

func (b *bar) show(p *pawlv1.Progress) {
	switch {
	case p.Done && p.Error == "":
		b.clear()
		text := fmt.Sprintf("%s: %s", b.node, p.Step)
		if d := p.Elapsed.AsDuration(); d >= time.Second {
			text += fmt.Sprintf(" (%.1fs)", d.Seconds())
		}
		b.out.Printf("%s\n", text)
	case p.Done:
		b.clear()
	case b.width > 0:
		b.out.Printf("\r\x1b[K%s", draw(b.node, p, b.width))
		b.shown = true
	}
}

// clear removes the changing line, so that another can be printed.
func (b *bar) clear() {
	if b.shown {
		b.out.Printf("\r\x1b[K")
		b.shown = false
	}
}

// pace is how fast it goes and how long it takes, for people; empty if not known.
func pace(a *pawlv1.Amount) string {
	if a.GetRate() <= 0 {
		return ""
	}
	text := fmt.Sprintf(", %s/s", show.Size(a.Rate))
	if left := a.Left.AsDuration(); left > 0 {
		text += fmt.Sprintf(", %v left", max(left.Round(time.Second), time.Second))
	}
	return text
}

// draw is the changing line, at most width columns.
func draw(node string, p *pawlv1.Progress, width int) string {
	text := fmt.Sprintf("%s: %s", node, p.Step)
	if p.File != "" {
		text += " " + p.File
	}
	text = terminal.Escape(text) // or its length on the terminal would be another
	amount := ""
	if p.Bytes > 0 {
		amount = " " + show.Size(p.Bytes)
	}
	if p.Total > 0 {
		amount = fmt.Sprintf(" %3d%% %s of %s", int64(100*(float64(p.Bytes)/float64(p.Total))), show.Size(p.Bytes), show.Size(p.Total))
		if more := amount + pace(p.Whole); len(text)+len(more) < width {
			amount = more
		}
		if room := min(width-1-len(text)-len(amount)-3, 40); room > 4 {
			full := int(float64(room) * max(0, min(float64(p.Bytes)/float64(p.Total), 1)))
			text += " [" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]"
		}
	}
	if text += amount; len(text) > width-1 {
		text = strings.ToValidUTF8(text[:max(width-1, 0)], "")
	}
	return text
}
