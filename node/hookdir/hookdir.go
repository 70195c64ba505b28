// Package hookdir makes hooks and checks of the executables in a directory, for operators who do not write Go.
//
// Start with Hooks and Checks, and give what they return to node.Config. The layout:
//
//	DIR/drain/10-pods       one directory a phase (see node.HookPhases), executables in the order of their names
//	DIR/checks/50-network   the trial's checks
//
// An executable gets the occasion as JSON on its standard input (node.Occasion; a check gets {"phase":"checks"}), and may
// run for as long as the deadline says; then it is killed with all that it started. Exit code 0 is success. In a hook, 10
// says that everything was as it should be already, so that nothing is to be undone. Any other code is a failure. Each
// line that it prints goes into the log, and the last one into the error.
//
// This is the only package of the library that starts programs, and it starts no others than these. Beside it, what asks
// registries starts docker's credential helpers, where docker's configuration names some, and `installer pack --grub` runs
// grub-mkimage on the machine that builds. Files that are not executable, or whose names begin with a dot, are left alone;
// one that others than its owner and root may write is refused.
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

	"github.com/pawl-os/pawl/node"
)

// Already is the exit code of a hook that found everything as it should be.
const Already = 10

// checksDir holds the checks.
const checksDir = "checks"

// Options say how executables are run. The zero value works.
type Options struct {
	Deadline time.Duration // of each; 0 is node.HookDeadline
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

// Hooks are the executables of all phases. A directory in dir that is neither a phase nor "checks" is an error: it would
// never be run.
func Hooks(dir string, o Options) (hooks []node.Hook, err error) {
	o = o.defaults()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read hooks: %w", err)
	}
	for _, e := range entries {
		known := e.Name() == checksDir || slices.Contains(node.HookPhases(), node.Phase(e.Name()))
		if e.IsDir() && !known && !strings.HasPrefix(e.Name(), ".") {
			return nil, fmt.Errorf("read hooks: %s is no phase; want one of %v, or %s", filepath.Join(dir, e.Name()), node.HookPhases(), checksDir)
		}
	}
	for _, p := range node.HookPhases() {
		files, err := executables(filepath.Join(dir, string(p)))
		if err != nil {
			return nil, fmt.Errorf("read hooks: %w", err)
		}
		for _, file := range files {
			hooks = append(hooks, node.Hook{Phase: p, Name: filepath.Base(file), Deadline: o.Deadline,
				Run: func(ctx context.Context, at node.Occasion) error { return o.run(ctx, file, at) }})
		}
	}
	return hooks, nil
}

// Checks are the executables in the directory "checks" of dir.
func Checks(dir string, o Options) (checks []node.Check, err error) {
	o = o.defaults()
	files, err := executables(filepath.Join(dir, checksDir))
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	for _, file := range files {
		checks = append(checks, node.Check{Name: filepath.Base(file), Deadline: o.Deadline,
			Run: func(ctx context.Context) error { return o.run(ctx, file, map[string]string{"phase": checksDir}) }})
	}
	return checks, nil
}

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
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || strings.HasPrefix(e.Name(), "."):
			continue
		case info.Mode()&0o022 != 0:
			return nil, fmt.Errorf("%s may be changed by others than its owner (mode %v); take that away with chmod go-w", path, info.Mode())
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

// maxLine bounds what is kept of a line.
const maxLine = 4096

// lines logs what is printed, line by line, and remembers the last.
type lines struct {
	log *slog.Logger

	mu         sync.Mutex
	rest, last []byte
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
	if line = bytes.TrimSpace(line); len(line) > 0 {
		l.last = bytes.Clone(line)
		l.log.Info("output", "line", string(line))
	}
}

func (l *lines) end() (last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(l.rest)
	l.rest = nil
	return string(l.last)
}
