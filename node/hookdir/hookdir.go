// Package hookdir makes hooks and checks of the executables in a directory, for operators who do not write Go.
//
// Start with Hooks and Checks, and give what they return to [node.Config]. The layout:
//
//	DIR/drain/10-pods       one directory a phase (see node.HookPhases), executables in the order of their names
//	DIR/checks/50-network   the trial's checks
//
// An executable gets the occasion as JSON on its standard input ([node.Occasion]; a check gets {"phase":"checks"}), and
// may run for as long as the deadline says; then it is killed with all that it started. One that needs longer, or shall
// have less, says so in a file beside it: 10-pods.deadline, with a time such as 10m. Exit code 0 is success. In a hook,
// 10 says that everything was as it should be already, so that nothing is to be undone. Any other code is a failure.
// Each line that it prints goes into the log, and the last one into the error.
//
// This is the only package of the library that starts programs, and it starts no others than these. Beside it, what
// asks registries starts docker's credential helpers, where docker's configuration names some, and `installer pack
// --grub` runs grub-mkimage on the machine that builds. Files that are not executable, or whose names begin with a dot,
// are left alone.
//
// Each time before it is run, an executable is refused that others than root and the service's own user own or may
// write, or could replace: the same holds for each directory on its path, links resolved.
package hookdir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/node"
)

// Already is the exit code of a hook that found everything as it should be.
const Already = 10

// checksDir holds the checks.
const checksDir = "checks"

// Options say how executables are run. The zero value works.
type Options struct {
	Deadline time.Duration // of each that does not say; 0 is node.HookDeadline
	Log      *slog.Logger  // gets what they print; nil discards
}

func (o Options) defaults() Options {
	if o.Deadline == 0 {
		o.Deadline = node.HookDeadline
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// absolute is dir as it is when the service starts.
func absolute(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no directory is named")
	}
	return filepath.Abs(dir)
}

// Hooks are the executables of all phases. A directory in dir that is neither a phase nor "checks", and an executable
// in dir itself, is an error: it would never be run.
func Hooks(dir string, o Options) (hooks []node.Hook, err error) {
	o = o.defaults()
	if dir, err = absolute(dir); err != nil {
		return nil, fmt.Errorf("read hooks: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read hooks: %w", err)
	}
	for _, e := range entries {
		if err := known(dir, e.Name()); err != nil {
			return nil, fmt.Errorf("read hooks: %w", err)
		}
	}
	for _, p := range node.HookPhases() {
		files, err := executables(filepath.Join(dir, string(p)))
		if err != nil {
			return nil, fmt.Errorf("read hooks: %w", err)
		}
		for _, file := range files {
			limit, err := o.deadline(file)
			if err != nil {
				return nil, fmt.Errorf("read hooks: %w", err)
			}
			hooks = append(hooks, node.Hook{Phase: p, Name: filepath.Base(file), Deadline: limit,
				Run: func(ctx context.Context, at node.Occasion) error { return o.run(ctx, file, at) }})
		}
	}
	return hooks, nil
}

// known refuses what would never be run: a directory of another name than a phase's, and an executable beside them.
func known(dir, name string) error {
	names := []string{checksDir}
	for _, p := range node.HookPhases() {
		names = append(names, string(p))
	}
	if slices.Contains(names, name) || strings.HasPrefix(name, ".") {
		return nil
	}
	path := filepath.Join(dir, name)
	info, err := os.Stat(path) // also what a link leads to
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is no phase%s; want one of %v", path, nearest.Hint(name, names), names)
	case info.Mode().IsRegular() && info.Mode()&0o111 != 0:
		return fmt.Errorf("%s is in no phase, so it would never be run; put it into one of %v", path, names)
	}
	return nil
}

// Checks are the executables in the directory "checks" of dir.
func Checks(dir string, o Options) (checks []node.Check, err error) {
	o = o.defaults()
	if dir, err = absolute(dir); err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	files, err := executables(filepath.Join(dir, checksDir))
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	for _, file := range files {
		limit, err := o.deadline(file)
		if err != nil {
			return nil, fmt.Errorf("read checks: %w", err)
		}
		checks = append(checks, node.Check{Name: filepath.Base(file), Deadline: limit,
			Run: func(ctx context.Context) error { return o.run(ctx, file, map[string]string{"phase": checksDir}) }})
	}
	return checks, nil
}

// named is how many parts of a path are the operator's own hooks: DIR/PHASE/NAME.
const named = 3

// executables are those in a directory, in the order of their names. No such directory is none.
func executables(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, err
		case strings.HasSuffix(path, deadlineSuffix):
			if _, err := os.Stat(strings.TrimSuffix(path, deadlineSuffix)); err != nil {
				return nil, fmt.Errorf("%s is the deadline of nothing: %w", path, err)
			}
			continue
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || strings.HasPrefix(e.Name(), "."):
			continue
		}
		if err := trusted(path, named); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	return files, nil
}

// run runs one executable.
func (o Options) run(ctx context.Context, path string, occasion any) error {
	input, err := json.Marshal(occasion)
	if err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	if err := trusted(path, named); err != nil { // each time: it was long ago that it was found
		return fmt.Errorf("run %s: %w", path, err)
	}
	out := &lines{log: o.Log.With("executable", path)}
	c := exec.CommandContext(ctx, path)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(append(input, '\n')), out, out
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second // what it left behind may hold its output open
	err = c.Run()
	last := out.end()
	exit := new(exec.ExitError)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("run %s: killed, for it was cancelled: %w", path, ctx.Err())
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: killed, for it took too long: %w", path, ctx.Err())
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == Already:
		return node.ErrAlready
	case last != "":
		return fmt.Errorf("run %s: %w: %s", path, err, last)
	}
	return fmt.Errorf("run %s: %w", path, err)
}

// maxLine bounds what is kept of a line, in bytes, and maxLines how many lines of one run are logged.
const (
	maxLine  = 4096
	maxLines = 1000
)

// lines logs what is printed, line by line, and remembers the last.
type lines struct {
	log *slog.Logger

	mu     sync.Mutex
	rest   []byte
	last   string
	logged int
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole && len(l.rest) < maxLine {
			return len(b), nil
		}
		if !whole {
			line, rest = l.rest[:maxLine], l.rest[maxLine:]
		}
		l.keep(line)
		l.rest = bytes.Clone(rest)
	}
}

func (l *lines) keep(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	l.last = foreign.Text(string(line), maxLine)
	switch l.logged++; {
	case l.logged <= maxLines:
		l.log.Info("output", "line", l.last)
	case l.logged == maxLines+1:
		l.log.Warn("it prints more lines than are logged", "logged", maxLines)
	}
}

func (l *lines) end() (last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(l.rest)
	l.rest = nil
	return l.last
}
