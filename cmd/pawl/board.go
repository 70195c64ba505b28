package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// board is what changes at the end of a terminal: a line for each node that has something to show. Lines that stay are
// printed above it. Where there is no terminal it shows nothing.
type board struct {
	out   *terminal.Printer
	width int // of the terminal; 0 elsewhere

	mu    sync.Mutex
	rows  []*row
	shown int // rows on the terminal
}

// row is one node's line.
type row struct {
	node string
	text string // less than a terminal's width; empty: none
	many bool   // it shows what was printed of its node last
}

// maxRows is how many rows are shown: a terminal whose lines they fill could not be cleared.
const maxRows = 16

// begin adds a node, until the function is called that it returns. Those of many at once show what was said of them
// last, so that each is seen.
func (b *board) begin(node string, many bool) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &row{node: node, many: many}
	b.rows = append(b.rows, r)
	return func() {
		b.change(node, func(r *row) { r.text = "" }, "")
		b.mu.Lock()
		defer b.mu.Unlock()
		b.rows = slices.DeleteFunc(b.rows, func(other *row) bool { return other == r })
	}
}

// line prints a line of a node, which stays.
func (b *board) line(node, text string) {
	b.change(node, func(r *row) {
		r.text = ""
		if r.many {
			r.text = show.Cut(node+": "+text, b.width)
		}
	}, "%s: %s\n", node, text)
}

// progress shows how far a node's step is, and prints a step that is over.
func (b *board) progress(node string, p *pawlv1.Progress) {
	text, format, args := "", "", []any(nil)
	switch {
	case !p.Done:
		text = draw(node, p, b.width)
	case p.Error == "":
		format, args = "%s\n", []any{over(node, p)}
	}
	b.change(node, func(r *row) { r.text = text }, format, args...)
}

// change clears the rows, prints, and draws them again with that of one node changed.
func (b *board) change(node string, change func(*row), format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown > 0 {
		b.out.Printf("\r\x1b[K")
		for range b.shown - 1 {
			b.out.Printf("\x1b[A\x1b[K")
		}
	}
	if format != "" {
		b.out.Printf(format, args...)
	}
	b.shown = 0
	for _, r := range b.rows {
		if r.node == node {
			change(r)
		}
		if b.width == 0 || r.text == "" || b.shown == maxRows {
			continue
		}
		if b.shown > 0 {
			b.out.Printf("\n")
		}
		b.out.Printf("%s", r.text)
		b.shown++
	}
}

// over is the line of a step that is over.
func over(node string, p *pawlv1.Progress) string {
	text := fmt.Sprintf("%s: %s", node, p.Step)
	if d := p.Elapsed.AsDuration(); d >= time.Second {
		text += fmt.Sprintf(" (%.1fs)", d.Seconds())
	}
	return text
}

// draw is the changing line, of less than width columns.
func draw(node string, p *pawlv1.Progress, width int) string {
	return show.Progress{
		Name: node, Step: p.Step, File: p.File, Bytes: p.Bytes, Total: p.Total, Rate: p.Whole.GetRate(),
		Left: p.Whole.GetLeft().AsDuration(),
	}.Line(width)
}
