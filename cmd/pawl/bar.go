package main

import (
	"fmt"
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

// draw is the changing line, at most width columns.
func draw(node string, p *pawlv1.Progress, width int) string {
	return show.Progress{
		Name: node, Step: p.Step, File: p.File, Bytes: p.Bytes, Total: p.Total, Rate: p.Whole.GetRate(),
		Left: p.Whole.GetLeft().AsDuration(),
	}.Line(width)
}
