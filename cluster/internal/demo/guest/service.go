package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/pawl-os/pawl/cluster/internal/demo/place"
	"github.com/pawl-os/pawl/examples/os/pid1"
)

// data is where etcd's directory is.
const data = "/data"

// service is this machine's etcd: what the cluster's hooks stop, wipe and start.
type service struct {
	machine place.Machine

	mu    sync.Mutex
	etcd  *exec.Cmd
	ended chan struct{} // closed once it has ended; nil if it was never started
}

// Start implements cluster.Service.
func (s *service) Start(ctx context.Context, initial string) error {
	return s.run(ctx, initial, "existing")
}

// run starts etcd, unless it runs.
func (s *service) run(ctx context.Context, initial, state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		select {
		case <-s.ended:
		default:
			return nil
		}
	}
	m := s.machine
	c := exec.Command("/bin/etcd", "--name", m.Name(), "--data-dir", data+"/etcd", "--log-level", "error",
		"--listen-client-urls", fmt.Sprintf("http://0.0.0.0:%d", place.Client), "--advertise-client-urls", m.ClientURL(),
		"--listen-peer-urls", fmt.Sprintf("http://0.0.0.0:%d", place.Peer), "--initial-advertise-peer-urls", m.PeerURL(),
		"--initial-cluster", initial, "--initial-cluster-state", state,
		"--heartbeat-interval", "500", "--election-timeout", "5000") // an emulated machine is slow to answer
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	pid1.Report("etcd", "started", state)
	ended := make(chan struct{})
	s.etcd, s.ended = c, ended
	go func() {
		pid1.Report("etcd", "ended", fmt.Sprint(c.Wait()))
		close(ended)
	}()
	return ctx.Err()
}

// Stop implements cluster.Service. A member that was removed ends by itself; this is no error.
func (s *service) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		return nil
	}
	_ = s.etcd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop etcd: %w", ctx.Err())
	}
}

// Wipe implements cluster.Service.
func (s *service) Wipe(context.Context) error { return os.RemoveAll(data + "/etcd") }
