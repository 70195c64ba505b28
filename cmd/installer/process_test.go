package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/upgrade/progress"
)

// process is an installer in a process of its own that goes ahead one line of progress at a time. Its standard error is
// a pipe that holds one line and no more, so it stops at the next line until the one before is taken.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines int    // the pipe's end to read from
	copy  [2]int // a pipe to look with
	out   bytes.Buffer
}

// start starts a command on the box. In the pipe is the line "started", and the process stops at its own first line.
func (b *box) start(command string, args ...string) *process {
	b.t.Helper()
	self, err := os.Executable()
	require.NoError(b.t, err)
	var ends [2]int
	// With O_DIRECT each write is a packet, and with a pipe of one page there is room for one.
	require.NoError(b.t, unix.Pipe2(ends[:], unix.O_DIRECT|unix.O_CLOEXEC))
	p := &process{t: b.t, lines: ends[0], cmd: exec.Command(self, append(append([]string{command}, args...),
		b.machine()...)...)}
	room, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, os.Getpagesize())
	require.NoError(b.t, err)
	require.Equal(b.t, os.Getpagesize(), room)
	_, err = unix.Write(ends[1], []byte("started\n"))
	require.NoError(b.t, err)
	require.NoError(b.t, unix.Pipe2(p.copy[:], unix.O_CLOEXEC))
	write := os.NewFile(uintptr(ends[1]), "progress")
	p.cmd.Env = append(os.Environ(), asInstaller+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, write
	require.NoError(b.t, p.cmd.Start())
	require.NoError(b.t, write.Close())
	b.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		for _, fd := range []int{p.lines, p.copy[0], p.copy[1]} {
			_ = unix.Close(fd)
		}
	})
	return p
}

// peek waits for the next line and leaves it there: the process is between it and the one after it. It is "" at the
// end.
func (p *process) peek() string {
	p.t.Helper()
	n, err := retry(func() (int, error) {
		n, err := unix.Tee(p.lines, p.copy[1], os.Getpagesize(), 0)
		return int(n), err
	})
	require.NoError(p.t, err)
	if n == 0 {
		return ""
	}
	return p.read(p.copy[0])
}

// take takes the next line: the process goes on until it has one more to tell.
func (p *process) take() string {
	p.t.Helper()
	return p.read(p.lines)
}

func (p *process) read(fd int) string {
	p.t.Helper()
	line := make([]byte, os.Getpagesize())
	n, err := retry(func() (int, error) { return unix.Read(fd, line) })
	require.NoError(p.t, err)
	return strings.TrimSpace(string(line[:n]))
}

func retry(call func() (int, error)) (n int, err error) {
	for n, err = call(); err == unix.EINTR; n, err = call() {
	}
	return n, err
}

// until lets the process go on until it is in a step, with skip further lines of that step told. It is false when the
// step told fewer: how many it tells depends on how fast the disk is.
func (p *process) until(want progress.Step, skip int) bool {
	p.t.Helper()
	for in := false; ; {
		line := p.peek()
		if in && (line == "" || after(line) != want) {
			return false
		}
		require.NotEmpty(p.t, line, "it ended before %s", want)
		if after(line) == want {
			if skip == 0 {
				return true
			}
			in = true
			skip--
		}
		p.take()
	}
}

// steps are those of an upgrade, in order.
var steps = []progress.Step{
	progress.StepFind, progress.StepDisarm, progress.StepClear, progress.StepWrite, progress.StepVerify,
	progress.StepComplete,
	progress.StepPrepare, progress.StepArm,
}

// after is the step that a process is in once it has told a line: "write: os.efi 30%" or "write: done in 0.1s".
func after(line string) progress.Step {
	name, rest, _ := strings.Cut(line, ": ")
	i := slices.Index(steps, progress.Step(name)) // -1 is "started"
	if i < 0 || strings.HasPrefix(rest, "done") {
		i++
	}
	if i == len(steps) {
		return ""
	}
	return steps[i]
}

// finish lets the process run to its end and returns its exit code and what it printed.
func (p *process) finish() (int, string) {
	p.t.Helper()
	var text strings.Builder
	for line := p.take(); line != ""; line = p.take() {
		text.WriteString(line + "\n")
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), text.String() + p.out.String()
}

// kill ends the process without a word.
func (p *process) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGKILL))
	_ = p.cmd.Wait()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(p.t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%s", p.cmd.ProcessState)
}
