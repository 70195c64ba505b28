package real

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Member is one etcd server, a process.
type Member struct {
	Name, Client, Peer string // the latter two are URLs
	Dir                string
	Binary             string
	Args               []string // more than all have

	t     *testing.T
	state string // --initial-cluster-state
	all   string // --initial-cluster
	run   *exec.Cmd
	ended chan struct{}
}

var clusters atomic.Int32

// Members starts a cluster of n members of etcd, which ends with the test. Each has an address of its own in
// 127.0.0.0/8, so that no port is shared with anybody.
func Members(t *testing.T, n int, args ...string) []*Member {
	t.Helper()
	binary, err := Etcd(t.Context(), Version)
	require.NoError(t, err)
	pid, number := os.Getpid(), clusters.Add(1)
	var all []*Member
	var initial []string
	for i := range n + 1 { // one more address, for a member that joins later
		host := fmt.Sprintf("127.%d.%d.%d", 1+pid>>8&0x7f, pid&0xff, int(number)*16%240+i+1)
		m := &Member{Name: fmt.Sprintf("m%d", i+1), Client: "http://" + host + ":2379",
			Peer: "http://" + host + ":2380",
			Dir:  filepath.Join(t.TempDir(), "data"), Binary: binary, Args: args, t: t, state: "new"}
		all = append(all, m)
		if i < n {
			initial = append(initial, m.Name+"="+m.Peer)
		}
	}
	for _, m := range all[:n] {
		m.all = strings.Join(initial, ",")
		m.Start()
	}
	for _, m := range all[:n] {
		m.Ready()
	}
	return all[:n]
}

// URLs are the client URLs of members.
func URLs(members []*Member) (urls []string) {
	for _, m := range members {
		urls = append(urls, m.Client)
	}
	return urls
}

// Start starts the member with the data that it has.
func (m *Member) Start() {
	m.t.Helper()
	args := append([]string{
		"--name", m.Name, "--data-dir", m.Dir, "--listen-client-urls", m.Client, "--advertise-client-urls", m.Client,
		"--listen-peer-urls", m.Peer, "--initial-advertise-peer-urls", m.Peer, "--initial-cluster", m.all,
		"--initial-cluster-state", m.state, "--log-level", "error", "--unsafe-no-fsync",
	}, m.Args...)
	log, err := os.OpenFile(m.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(m.t, err)
	c := exec.Command(m.Binary, args...)
	c.Stdout, c.Stderr = log, log
	require.NoError(m.t, c.Start())
	ended := make(chan struct{})
	m.run, m.ended = c, ended
	go func() {
		_ = c.Wait() // killed, or removed: the test asks what became of it
		_ = log.Close()
		close(ended)
	}()
	m.t.Cleanup(m.Kill)
}

// Join starts the member anew, with nothing of what it knew.
func (m *Member) Join(initial string) {
	m.t.Helper()
	require.NoError(m.t, os.RemoveAll(m.Dir))
	m.all, m.state = initial, "existing"
	m.Start()
}

// Ready waits until the member listens.
func (m *Member) Ready() {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(m.Client, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond, m.Log())
}

// Log is what the member has printed.
func (m *Member) Log() string {
	f, err := os.Open(m.Dir + ".log")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20)) // of use for people alone
	return string(b)
}

// Kill ends the member as a power cut would.
func (m *Member) Kill() {
	if m.run == nil {
		return
	}
	m.signal(syscall.SIGKILL)
	<-m.ended
}

// Ended waits until the member has ended by itself, and returns its exit status.
func (m *Member) Ended() int {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(time.Minute):
		require.Fail(m.t, "the member does not end", m.Log())
	}
	return m.run.ProcessState.ExitCode()
}

// Gone is closed once the member has ended.
func (m *Member) Gone() <-chan struct{} { return m.ended }

// Forget removes what the member knows.
func (m *Member) Forget() error { return os.RemoveAll(m.Dir) }

// Pause stops the member where it is, until Continue.
func (m *Member) Pause() { m.signal(syscall.SIGSTOP) }

// Continue has it go on.
func (m *Member) Continue() { m.signal(syscall.SIGCONT) }

func (m *Member) signal(s syscall.Signal) { _ = m.run.Process.Signal(s) } // one that has ended needs none
