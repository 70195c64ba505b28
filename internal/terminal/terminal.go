// Package terminal is how the commands print: what comes from a node, an image, a disk or a kernel's log is text of
// others, and a terminal obeys what stands in it. Start with To.
//
// What a format says is the program's own and is printed as it is. What is put into it is escaped: control characters,
// those of C1 too, what changes the direction of writing, line ends, separators, and bytes that are no UTF-8 come out
// as Go writes them in a string (\x1b, \n, \u202e). So a value neither commands a terminal nor makes a line that looks
// like another's.
package terminal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Printer prints to one writer and remembers whether that failed. Several goroutines may use it; what one call prints
// stays together.
type Printer struct {
	mu  sync.Mutex
	out io.Writer
	err error
}

// To returns a printer to w; w itself if it is one.
func To(w io.Writer) *Printer {
	if p, ok := w.(*Printer); ok {
		return p
	}
	return &Printer{out: w}
}

// Err is the first error of printing; nil if all was printed.
func (p *Printer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// print prints text that is safe, at once.
func (p *Printer) print(text string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		_, err = io.WriteString(p.out, text)
	}
	if err != nil {
		err = fmt.Errorf("print: %w", err)
		p.err = cmp.Or(p.err, err)
	}
	return err
}

// Printf prints what the format says, with the arguments escaped. It is allowed to change args.
func (p *Printer) Printf(format string, args ...any) {
	for i := range args {
		args[i] = escaped{args[i]}
	}
	_ = p.print(fmt.Sprintf(format, args...), nil)
}

// Write prints text that was put together by others, such as a help or a log: line ends and tabs stay, all else is
// escaped.
func (p *Printer) Write(text []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		rest, ended := strings.CutSuffix(line, "\n")
		for i, cell := range strings.Split(rest, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(Escape(cell))
		}
		if ended {
			b.WriteByte('\n')
		}
	}
	if err := p.print(b.String(), nil); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Rows prints rows in columns, each row after the indent, each cell escaped.
func (p *Printer) Rows(indent string, rows [][]string) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Escape(cell)
		}
		fmt.Fprintln(t, strings.TrimRight(indent+strings.Join(cells, "\t"), "\t "))
	}
	err := t.Flush()
	_ = p.print(b.String(), err)
}

// Error prints err after the name of the program: a line for each of the errors that were joined.
func (p *Printer) Error(program string, err error) {
	for _, e := range separate(err) {
		p.Printf("%s: %s\n", program, e)
	}
}

// separate takes joined errors apart; one whose text holds line ends of its own stays one.
func separate(err error) []error {
	switch e := err.(type) { //nolint:errorlint // it is taken apart layer by layer
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil && inner.Error() == err.Error() {
			return separate(inner)
		}
	case interface{ Unwrap() []error }:
		if errors.Join(e.Unwrap()...).Error() != err.Error() {
			break
		}
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, separate(one)...)
		}
		return all
	}
	return []error{err}
}

// JSON prints a value and a line end, each further level indented by indent. Characters that Escape would change are
// written as \u escapes, which mean the same.
func (p *Printer) JSON(value any, indent string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", indent)
	err := enc.Encode(value)
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	_ = p.print(out.String(), err)
}

// Width is how many columns the terminal has; 0 if it is none.
func (p *Printer) Width() int {
	f, ok := p.out.(*os.File)
	if !ok {
		return 0
	}
	width, _ := columns(f)
	return width
}

// Terminal reports whether it prints on a terminal, also on one that does not know its width.
func (p *Printer) Terminal() bool {
	f, ok := p.out.(*os.File)
	if !ok {
		return false
	}
	_, terminal := columns(f)
	return terminal
}

// Binary is the writer itself, for what is no text. A terminal is refused.
func (p *Printer) Binary() (io.Writer, error) {
	if f, ok := p.out.(*os.File); ok {
		if _, terminal := columns(f); terminal {
			return nil, errors.New("it is a terminal; send it into a file or a program")
		}
	}
	return struct{ io.Writer }{p.out}, nil
}

// Escape makes a value fit to be part of a line: what cannot be printed, or is no UTF-8, is written as in a Go string.
func Escape(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// escaped is a value that is escaped once it is text.
type escaped struct{ value any }

// Format has the value's own form, escaped.
func (e escaped) Format(to fmt.State, verb rune) {
	_, _ = io.WriteString(to, Escape(fmt.Sprintf(fmt.FormatString(to, verb), e.value)))
}
