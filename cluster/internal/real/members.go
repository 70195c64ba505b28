package real

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Member is one etcd server, a process.
type Member struct {
	process
	Name, Client, Peer string // the latter two are URLs
	Dir                string
	Binary             string
	Args               []string // more than all have

	state  string   // --initial-cluster-state
	all    string   // --initial-cluster
	listen string   // --listen-client-urls; empty: Client
	in     []string // what it is run by
}

var clusters atomic.Int32

// hosts are n addresses in 127.0.0.0/8 that nobody else has, at most 16, so that no port is shared with anybody.
func hosts(n int) (all []string) {
	pid, number := os.Getpid(), clusters.Add(1)
	for i := range n {
		all = append(all, fmt.Sprintf("127.%d.%d.%d", 1+pid>>8&0x7f, pid&0xff, int(number)*16%240+i+1))
	}
	return all
}

// Members starts a cluster of n members of etcd, which ends with the test. Each has an address of its own.
func Members(t *testing.T, n int, args ...string) []*Member {
	t.Helper()
	all := cluster(t, hosts(n+1), n, args) // one more address, for a member that joins later
	for _, m := range all {
		m.Start()
	}
	for _, m := range all {
		m.Ready()
	}
	return all
}

// cluster is a cluster of the first n of some hosts that is to be started.
func cluster(t *testing.T, hosts []string, n int, args []string) []*Member {
	t.Helper()
	binary, err := Etcd(t.Context(), Version)
	require.NoError(t, err)
	var all []*Member
	var initial []string
	for i, host := range hosts {
		m := &Member{Name: fmt.Sprintf("m%d", i+1), Client: "http://" + host + ":2379",
			Peer: "http://" + host + ":2380",
			Dir:  filepath.Join(t.TempDir(), "data"), Binary: binary, Args: args, state: "new"}
		m.t, m.log = t, m.Dir+".log"
		all = append(all, m)
		if i < n {
			initial = append(initial, m.Name+"="+m.Peer)
		}
	}
	for _, m := range all[:n] {
		m.all = strings.Join(initial, ",")
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
	line := append(slices.Clone(m.in), m.Binary,
		"--name", m.Name, "--data-dir", m.Dir, "--listen-client-urls", cmp.Or(m.listen, m.Client),
		"--advertise-client-urls", m.Client,
		"--listen-peer-urls", m.Peer, "--initial-advertise-peer-urls", m.Peer, "--initial-cluster", m.all,
		"--initial-cluster-state", m.state, "--log-level", "error", "--unsafe-no-fsync")
	line = append(line, m.Args...)
	m.start(line[0], line[1:]...)
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

// Forget removes what the member knows.
func (m *Member) Forget() error { return os.RemoveAll(m.Dir) }
