package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark begins the line that ends what a command prints, with its exit code.
const mark = "== ended with"

// shell is a bash that is told one command after the other, as by a person.
type shell struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func start(ctx context.Context, env ...string) (*shell, error) {
	s := &shell{cmd: exec.CommandContext(ctx, "bash", "--noprofile", "--norc")}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it and all that it leaves in the background
	s.cmd.Cancel = func() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM) }
	s.cmd.WaitDelay = 5 * time.Second
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	s.in, s.out, s.cmd.Stdout, s.cmd.Stderr = in, bufio.NewReader(r), w, w
	return s, s.cmd.Start()
}

// run runs a command and shows what it prints.
func (s *shell) run(command string) (said []string, code int, err error) {
	if _, err := fmt.Fprintf(s.in, "%s\nprintf '\\n%%s %%d\\n' '%s' $?\n", strings.TrimSpace(command), mark); err != nil {
		return nil, 0, err
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return said, 0, fmt.Errorf("the shell has ended: %w", err)
		}
		if ended, ok := strings.CutPrefix(line, mark); ok {
			code, err = strconv.Atoi(strings.TrimSpace(ended))
			return said, code, err
		}
		fmt.Print(line)
		said = append(said, line)
	}
}

// end ends the shell and what it left.
func (s *shell) end() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// other is what differs from one run to the next: identifiers and digests.
var other = regexp.MustCompile(`[0-9a-f]{8}(-?[0-9a-f]{4,})*`)

// alike is text without what differs.
func alike(text string) string { return other.ReplaceAllString(text, "X") }
