// Package timeline prints what happens in a demonstration: when, who says it, and what. Start with New.
package timeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Timeline is one run's. Several goroutines may use it.
type Timeline struct {
	mu    sync.Mutex
	out   io.Writer
	begin time.Time
	dir   string
}

// New begins now. Commands are programs in dir, whose name is left out of what is printed.
func New(out io.Writer, dir string) *Timeline {
	return &Timeline{out: out, begin: time.Now(), dir: dir}
}

// Say prints one line.
func (t *Timeline) Say(who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%6.1fs  %-9s %s\n", time.Since(t.begin).Seconds(), who, fmt.Sprintf(format, args...))
}

// Title prints a heading.
func (t *Timeline) Title(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\n== %s\n", text)
}

// Command runs one of the project's commands as a person would, with its output in the timeline, and returns its exit
// code.
func (t *Timeline) Command(ctx context.Context, name string, args ...string) (int, error) {
	short := func(text string) string { return strings.ReplaceAll(text, t.dir+"/", "") }
	t.Say("operator", "$ %s %s", name, short(strings.Join(args, " ")))
	c := exec.CommandContext(ctx, filepath.Join(t.dir, name), args...)
	out := &Lines{Each: func(line string) { t.Say(name, "%s", short(line)) }}
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Lines is a writer that calls Each with every whole line.
type Lines struct {
	Each func(line string)

	mu   sync.Mutex
	rest []byte
}

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.Each(strings.TrimRight(string(line), "\r"))
		l.rest = rest
	}
}
