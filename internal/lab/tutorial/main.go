// Command tutorial runs the commands of docs/tutorial.md as they stand there, one after the other in one shell, with
// the real programs and two machines in QEMU. It takes them out of the document, so that what a newcomer reads is what
// was run: each has to end with the exit code that the document states, and to print the lines that it shows.
//
//	go run ./internal/lab/tutorial [-keep]
//
// It runs in the root of the checkout, makes the directory work there as the document does, and removes it unless -keep
// is given. The last line is "tutorial: ok commands=N more=N seconds=N" only if all of that holds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

const (
	document = "docs/tutorial.md"
	work     = "work"            // what the document calls its directory
	most     = 12                // commands that lead to the end
	further  = "More to look at" // heading above those that need not be
	within   = 25 * time.Minute
)

func main() {
	keep := flag.Bool("keep", false, "leave the directory work")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	begun := time.Now()
	path, more, err := run(ctx, *keep)
	if err != nil {
		fmt.Printf("tutorial: FAILED after %.0f s: %v\n", time.Since(begun).Seconds(), err)
		os.Exit(1)
	}
	fmt.Printf("tutorial: ok commands=%d more=%d seconds=%.0f\n", path, more, time.Since(begun).Seconds())
}

func run(ctx context.Context, keep bool) (path, more int, err error) {
	text, err := os.ReadFile(document)
	if err != nil {
		return 0, 0, err
	}
	commands, path, err := steps(string(text))
	if err != nil {
		return 0, 0, err
	}
	if _, err := os.Stat(work); err == nil {
		return 0, 0, fmt.Errorf("the directory %s is there already (remove it)", work)
	}
	if !keep {
		defer os.RemoveAll(work)
	}
	defer endMachines()
	settings, err := os.MkdirTemp("", "pawl-tutorial-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(settings)
	s, err := start(ctx, "PAWL_CONFIG="+filepath.Join(settings, "config.yaml"))
	if err != nil {
		return 0, 0, err
	}
	defer s.end()
	for _, c := range commands {
		fmt.Printf("\n$ %s", c.Text)
		said, code, err := s.run(c.Text)
		if err == nil {
			err = judge(c, said, code)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s:%d: %w", document, c.Line, err)
		}
	}
	return path, len(commands) - path, nil
}

// steps are the document's commands, and how many of them lead to the end.
func steps(text string) (commands []docs.Command, path int, err error) {
	commands = docs.Shell(text)
	for _, c := range commands {
		if c.Section != further {
			path++
		}
	}
	if path == 0 || path > most {
		err = fmt.Errorf("%s has %d commands, want 1 to %d", document, path, most)
	}
	return commands, path, err
}

// judge refuses what does not end as the document says, or does not print what it shows, which is a line or its part.
func judge(c docs.Command, said []string, code int) error {
	if code != c.Code {
		return fmt.Errorf("exit code %d, and the document says %d", code, c.Code)
	}
	printed := alike(strings.Join(said, ""))
	for _, line := range c.Prints {
		if !strings.Contains(printed, alike(line)) {
			return fmt.Errorf("it did not print %q", line)
		}
	}
	return nil
}

// endMachines ends machines that a run left, which is one that failed.
func endMachines() {
	files, _ := filepath.Glob(filepath.Join(work, "*.pid")) // of a pattern that is right
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // which may be another's by now
		if err == nil && strings.HasPrefix(string(name), "qemu") {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}
