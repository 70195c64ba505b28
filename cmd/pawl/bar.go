package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// bar shows the progress of one node: a line that changes on a terminal, one line a finished step elsewhere.
type bar struct {
	out   io.Writer
	node  string
	width int // of the terminal; 0 elsewhere
	shown bool
}

func newBar(out io.Writer, node string) *bar {
	width, _ := isTerminal(out)
	return &bar{out: out, node: node, width: width}
}

func (b *bar) show(p *pawlv1.Progress) {
	switch {
	case p.Done && p.Error == "":
		b.clear()
		text := fmt.Sprintf("%s: %s", b.node, p.Step)
		if d := p.Elapsed.AsDuration(); d >= time.Second {
			text += fmt.Sprintf(" (%.1fs)", d.Seconds())
		}
		fmt.Fprintln(b.out, text)
	case p.Done:
		b.clear()
	case b.width > 0:
		fmt.Fprint(b.out, "\r\x1b[K"+draw(b.node, p, b.width))
		b.shown = true
	}
}

// clear removes the changing line, so that another can be printed.
func (b *bar) clear() {
	if b.shown {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = false
	}
}

// pace is how fast it goes and how long it takes, for people; empty if not known.
func pace(a *pawlv1.Amount) string {
	if a.GetRate() <= 0 {
		return ""
	}
	text := fmt.Sprintf(", %s/s", size(a.Rate))
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
	amount := ""
	if p.Bytes > 0 {
		amount = " " + size(p.Bytes)
	}
	if p.Total > 0 {
		amount = fmt.Sprintf(" %3d%% %s of %s", 100*p.Bytes/p.Total, size(p.Bytes), size(p.Total))
		if more := amount + pace(p.Whole); len(text)+len(more) < width {
			amount = more
		}
		if room := min(width-1-len(text)-len(amount)-3, 40); room > 4 {
			full := int(int64(room) * min(p.Bytes, p.Total) / p.Total)
			text += " [" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]"
		}
	}
	if text += amount; len(text) > width-1 {
		text = text[:max(width-1, 0)]
	}
	return text
}
