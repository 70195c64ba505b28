package show

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/terminal"
)

// Progress is how far a step has come.
type Progress struct {
	Name, Step, File string // Name: of what the step is done to; may be empty
	Bytes, Total     int64  // Total: 0 if not known
	Rate             int64  // bytes a second; 0 if not known
	Left             time.Duration
}

// pace is how fast it goes and how long it takes; empty if not known.
func (p Progress) pace() string {
	if p.Rate <= 0 {
		return ""
	}
	text := fmt.Sprintf(", %s/s", bytesize.Text(p.Rate))
	if p.Left > 0 {
		text += fmt.Sprintf(", %v left", max(p.Left.Round(time.Second), time.Second))
	}
	return text
}

// Line is a line with a bar, of less than width columns.
func (p Progress) Line(width int) string {
	text := strings.TrimPrefix(fmt.Sprintf("%s: %s", p.Name, p.Step), ": ")
	if p.File != "" {
		text += " " + p.File
	}
	text = terminal.Escape(text) // or its length on the terminal would be another
	amount := ""
	if p.Bytes > 0 {
		amount = " " + bytesize.Text(p.Bytes)
	}
	if p.Total > 0 {
		part := float64(p.Bytes) / float64(p.Total)
		amount = fmt.Sprintf(" %3d%% %s of %s", int64(100*part), bytesize.Text(p.Bytes), bytesize.Text(p.Total))
		if more := amount + p.pace(); len(text)+len(more) < width {
			amount = more
		}
		if room := min(width-1-len(text)-len(amount)-3, 40); room > 4 {
			text += " [" + Bar(part, room) + "]"
		}
	}
	return Cut(text+amount, width)
}

// Cut makes text part of a line of less than width columns.
func Cut(text string, width int) string {
	if text = terminal.Escape(text); len(text) > width-1 {
		text = strings.ToValidUTF8(text[:max(width-1, 0)], "")
	}
	return text
}

// Bar is a bar of so many columns of which a part, from 0 to 1, is full.
func Bar(part float64, columns int) string {
	full := int(float64(columns) * max(0, min(part, 1)))
	return strings.Repeat("#", full) + strings.Repeat(".", columns-full)
}

// Area is a piece of a disk.
type Area struct {
	Name      string
	At, Bytes int64
	Text      string // what it is for
}

// Disk draws how a disk is divided: a row for each area, with a bar of its place.
func Disk(w *terminal.Printer, indent string, size int64, areas []Area) {
	const columns = 32
	var rows [][]string
	for _, a := range areas {
		from := int(a.At * columns / size)
		to := min(max(from+1, int((a.At+a.Bytes)*columns/size)), columns)
		bar := "[" + strings.Repeat(".", from) + strings.Repeat("#", to-from) + strings.Repeat(".", columns-to) + "]"
		rows = append(rows, []string{cmp.Or(a.Name, "-"), bytesize.Text(a.Bytes), "at " + bytesize.Text(a.At), bar, a.Text})
	}
	w.Rows(indent, rows)
}
