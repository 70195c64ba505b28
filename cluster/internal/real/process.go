package real

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a server that runs, or has run.
type process struct {
	t     *testing.T
	log   string // file of what it has printed
	run   *exec.Cmd
	ended chan struct{}
}

// start starts it. It ends with the test.
func (p *process) start(binary string, args ...string) {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	c := exec.Command(binary, args...)
	c.Stdout, c.Stderr = log, log
	require.NoError(p.t, c.Start())
	ended := make(chan struct{})
	p.run, p.ended = c, ended
	go func() {
		_ = c.Wait() // killed, or removed: the test asks what became of it
		_ = log.Close()
		close(ended)
	}()
	p.t.Cleanup(p.Kill)
}

// Log is what it has printed.
func (p *process) Log() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20)) // of use for people alone
	return string(b)
}

// Kill ends it as a power cut would.
func (p *process) Kill() {
	if p.run == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// Ended waits until it has ended by itself, and returns its exit status.
func (p *process) Ended() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		require.Fail(p.t, "it does not end", p.Log())
	}
	return p.run.ProcessState.ExitCode()
}

// Gone is closed once it has ended.
func (p *process) Gone() <-chan struct{} { return p.ended }

// Pause stops it where it is, until Continue.
func (p *process) Pause() { p.signal(syscall.SIGSTOP) }

// Continue has it go on.
func (p *process) Continue() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) { _ = p.run.Process.Signal(s) } // one that has ended needs none
