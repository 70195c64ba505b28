package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// installed is a disk on which version 1.0.0 is installed, and the reference of version 2.0.0.
type installed struct{ disk, two string }

func install(t *testing.T) installed {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	one, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	two, err := images.Reference("2.0.0", virtual.Spec{})
	require.NoError(t, err)
	m, err := virtual.Install(t.Context(), one)
	require.NoError(t, err)
	raw := make([]byte, m.Disk.Size())
	_, err = m.Disk.ReadAt(raw, 0)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	return installed{path, two}
}

// machine is one with its disk in a file and a model of firmware and loader, which runs a node service.
type machine struct {
	t      *testing.T
	disk   string
	vars   *efivar.Memory
	config cluster.Config
	works  func(bootID string) cluster.Work // in place of config's; nil: that
	reach  func(at string)                  // called with each phase as it begins; the machine waits for it
	lock   node.Lock                        // what its API shows and frees; nil: none
	down   func()                           // called as it restarts by itself
	power  func(on bool)                    // its member of etcd goes with it

	mu      sync.Mutex
	boot    int    // changes also with each run of the service
	id      string // of the boot
	version string
	node    *node.Server
	stop    func()
	log     bytes.Buffer
}

func newMachine(t *testing.T, from installed, config cluster.Config) *machine {
	t.Helper()
	raw, err := os.ReadFile(from.disk)
	require.NoError(t, err)
	m := &machine{t: t, disk: filepath.Join(t.TempDir(), "disk.raw"), vars: efivar.NewMemory(),
		config: config,
		reach:  func(string) {}, down: func() {}, power: func(bool) {}}
	require.NoError(t, os.WriteFile(m.disk, raw, 0o600))
	return m
}

// on switches the machine on. What ran before its power was cut is left where it is, with the disk as it knew it.
func (m *machine) on() error {
	m.mu.Lock()
	path := m.disk
	m.mu.Unlock()
	raw, err := disk.Options{ReadOnly: true}.Open(path)
	if err != nil {
		return err
	}
	outcome, err := predict.Boot(raw, m.vars, predict.Options{})
	if err := errors.Join(err, raw.Close()); err != nil {
		return err
	}
	if outcome.Stuck != "" {
		return fmt.Errorf("nothing boots: %s", outcome)
	}
	m.power(true)
	m.mu.Lock()
	m.id = fmt.Sprint("boot-", m.boot+1)
	m.version = map[bool]string{true: "1.0.0", false: "2.0.0"}[outcome.Slot == bootloader.A]
	m.mu.Unlock()
	return m.serve()
}

// serve starts the node service of the boot that runs.
func (m *machine) serve() error {
	m.mu.Lock()
	m.boot++
	boot, id, version, path := m.boot, m.id, m.version, m.disk
	m.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	c := m.config
	if m.works != nil {
		c.Work = m.works(id)
	}
	c.Log = slog.New(slog.NewTextHandler(m, nil))
	s, err := node.New(node.Config{
		Disk: path, Hooks: cluster.Hooks(c), Checks: cluster.Checks(c), TrialDeadline: time.Minute, Log: c.Log,
		Lock: m.lock,
		Observe: func(at node.Place) {
			if m.runs(boot) {
				m.reach(at.String())
			}
		},
		Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: m.vars, Cmdline: new(string),
			BootID: id, Version: version},
		Reboot: func(context.Context, string) error {
			if !m.runs(boot) {
				return nil
			}
			m.down()
			go func() {
				m.off()
				if err := m.on(); err != nil {
					m.t.Error(err)
				}
			}()
			return nil
		},
	})
	if err != nil {
		stop()
		return err
	}
	m.mu.Lock()
	m.node, m.stop = s, stop
	m.mu.Unlock()
	if _, err := s.Start(ctx); err != nil && !errors.Is(err, node.ErrRestarting) {
		return err
	}
	go func() { _ = s.Prove(ctx) }() // the trial that it gives up shows in what boots next
	return nil
}

// server is the node service of the boot that runs.
func (m *machine) server() *node.Server {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// runs reports whether a boot is the one that runs.
func (m *machine) runs(boot int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot == boot
}

// off takes the power from the machine.
func (m *machine) off() {
	m.power(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot++
	m.stop()
}

// cut takes the power from it in the middle of what it does, and has the disk as it is then.
func (m *machine) cut() error {
	m.off()
	return m.leave()
}

// crash ends its service in the middle of what it does. The machine runs on.
func (m *machine) crash() error {
	m.mu.Lock()
	m.boot++
	m.stop()
	m.mu.Unlock()
	return m.leave()
}

// leave has the disk as it is. What ran before does not come to it any more.
func (m *machine) leave() error {
	raw, err := os.ReadFile(m.disk)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disk += "x"
	return os.WriteFile(m.disk, raw, 0o600)
}

// Write takes the log.
func (m *machine) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(b)
}

// upgrade orders an upgrade, and returns when it has restarted, or failed.
func (m *machine) upgrade(ctx context.Context, reference string, preserve bool) error {
	m.mu.Lock()
	s, boot := m.node, m.boot
	m.mu.Unlock()
	op, err := s.Upgrade(ctx, node.UpgradeRequest{Image: reference, Preserve: preserve, Reboot: true})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- op.Follow(ctx, 0, func(node.Event) error { return nil }) }()
	for m.runs(boot) {
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// settled returns once the machine's attempt is over and nothing is left to be undone.
func (m *machine) settled() attempt.Attempt {
	m.t.Helper()
	var last attempt.Attempt
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		m.mu.Lock()
		path := m.disk
		m.mu.Unlock()
		c, err := upgrade.Open(path, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true, Vars: m.vars,
			Cmdline: new(string),
			BootID:  "x", Version: "x"})
		if err != nil {
			continue // it is being written
		}
		st, err := c.Status()
		_ = c.Close()
		if err != nil || st.Unread != nil { // META too may be half written
			continue
		}
		if st.Attempt == nil {
			return last
		}
		last = *st.Attempt
		early := last.State == attempt.Prepared // its service died before it disturbed anything, and this boot goes on
		if (early || !last.Open()) && len(last.Marks) == 0 {
			return last
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Fail(m.t, "the node does not come to rest", "%s\n%v\n%s", last, last.Marks, m.log.String())
	return last
}
