package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// computer is a machine with a disk in a file, whose firmware and loader are the model. What it boots runs the node
// service as pawld does, and restarts when that says so.
type computer struct {
	t       *testing.T
	disk    string
	vars    *efivar.Memory
	address string              // of the API: "unix:..." or loopback
	os      map[string]software // by the digest of the UKI
	log     bytes.Buffer        // of the node service
	reach   func(at string)     // is called in each phase of it; may be nil
	boot    string              // begins the ids of its boots
	release string              // a file in place of what the running version says of itself

	mu    sync.Mutex
	boots []string // "1.0.0 in A", "2.0.0 in B on trial"
	off   func()   // ends what runs
	wait  sync.WaitGroup
}

// software is what an image does once it runs.
type software struct {
	version string
	dies    bool // before the node service starts
	checks  []node.Check
	hooks   []node.Hook
	problem string // of its start; empty: none

	annotations map[string]string // of its image
}

// lab is a registry, the images in it, and a computer that runs version 1.0.0.
type lab struct {
	*computer
	images   *virtual.Images
	layout   *pack.Layout
	registry string
}

func newLab(t *testing.T, address string, hooks ...node.Hook) *lab {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	images, err := virtual.NewImages(t.Context(), dir)
	require.NoError(t, err)
	layout, err := pack.Create(dir)
	require.NoError(t, err)
	l := &lab{
		computer: &computer{
			t: t, disk: filepath.Join(t.TempDir(), "disk.raw"), vars: efivar.NewMemory(),
			address: address, os: map[string]software{},
		},
		images: images, layout: layout, registry: strings.TrimPrefix(server.URL, "http://"),
	}
	one, err := image.Open(t.Context(), l.push(software{version: "1.0.0", hooks: hooks}), image.Options{})
	require.NoError(t, err)
	raw, err := disk.Create(l.disk, virtual.Size)
	require.NoError(t, err)
	require.NoError(t, upgrade.Install(t.Context(), raw, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	require.NoError(t, raw.Close())
	l.on()
	t.Cleanup(func() {
		l.stop()
		if t.Failed() {
			t.Log(l.log.String())
		}
	})
	return l
}

// push makes an installer image of s, pushes it, and returns its reference.
func (l *lab) push(s software) string {
	_, err := l.images.Reference(s.version, virtual.Spec{Size: 1 << 20, Annotations: s.annotations})
	require.NoError(l.t, err)
	built, err := l.layout.Find("v" + s.version)
	require.NoError(l.t, err)
	ref := l.registry + "/os:" + s.version
	_, err = l.layout.Push(l.t.Context(), built, ref, pack.PushOptions{})
	require.NoError(l.t, err)
	img, err := image.Open(l.t.Context(), ref, image.Options{})
	require.NoError(l.t, err)
	for _, a := range img.Assets {
		if a.Name == pack.UKIAsset {
			l.os[a.SHA256] = s
		}
	}
	return ref
}

// on switches the computer on.
func (c *computer) on() {
	raw, err := disk.Options{ReadOnly: true}.Open(c.disk)
	require.NoError(c.t, err)
	outcome, err := predict.Boot(raw, c.vars, predict.Options{})
	require.NoError(c.t, errors.Join(err, raw.Close()))
	require.Empty(c.t, outcome.Stuck)
	s, ok := c.os[outcome.Digest]
	require.True(c.t, ok, "%s", outcome)
	boot := fmt.Sprintf("%s in %s", s.version, outcome.Slot)
	if outcome.Trial {
		boot += " on trial"
	}
	c.mu.Lock()
	c.boots = append(c.boots, boot)
	id := fmt.Sprintf("%s%d", cmp.Or(c.boot, "boot-"), len(c.boots))
	c.mu.Unlock()
	if s.dies {
		c.on()
		return
	}
	c.run(s, id)
}

// run is the system that booted, as cmd/pawld has it.
func (c *computer) run(s software, bootID string) {
	ctx, stop := context.WithCancel(context.Background())
	log := slog.NewTextHandler(&c.log, nil)
	machine := upgrade.OpenOptions{Loaders: loaders.All(), Vars: c.vars, Cmdline: new(string), BootID: bootID,
		Version: s.version}
	if c.release != "" {
		machine.Version, machine.Release = "", c.release
	}
	n, err := node.New(node.Config{
		Disk: c.disk, Checks: s.checks, Hooks: s.hooks, Unmount: []string{"EPHEMERAL"}, TrialDeadline: time.Minute,
		Window: 10 * time.Millisecond, Log: slog.New(log),
		Observe: func(at node.Place) {
			if c.reach != nil {
				c.reach(at.String())
			}
		},
		Machine: machine,
		Reboot: func(context.Context, string) error {
			c.wait.Go(func() {
				c.stop()
				c.on()
			})
			return nil
		},
	})
	require.NoError(c.t, err)
	if _, err = n.Start(ctx); errors.Is(err, node.ErrRestarting) {
		stop()
		_ = n.Close()
		return // the next boot is on its way
	}
	if s.problem == "" {
		require.NoError(c.t, err)
	} else {
		require.ErrorContains(c.t, err, s.problem)
	}
	var l net.Listener
	require.Eventually(c.t, func() bool {
		l, err = api.Listen(ctx, c.address, false)
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	if c.address == "127.0.0.1:0" {
		c.address = l.Addr().String()
	}
	var running sync.WaitGroup
	running.Go(func() { _ = api.New(n, api.Options{}).Serve(ctx, l) })
	running.Go(func() { _ = n.Prove(ctx) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = sync.OnceFunc(func() {
		stop()
		_ = n.Close()
		running.Wait()
	})
}

// stop ends what runs.
func (c *computer) stop() {
	c.mu.Lock()
	off := c.off
	c.mu.Unlock()
	if off != nil {
		off()
	}
}

// history is what has booted so far.
func (c *computer) history() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.boots...)
}

// next is what would boot by itself now.
func (c *computer) next() string {
	raw, err := disk.Options{ReadOnly: true}.Open(c.disk)
	require.NoError(c.t, err)
	defer raw.Close()
	vars := c.vars.Clone()
	outcome, err := predict.Boot(raw, vars, predict.Options{})
	require.NoError(c.t, err)
	return fmt.Sprintf("%s in %s", c.os[outcome.Digest].version, outcome.Slot)
}

func (c *computer) status() report.Status {
	m, err := upgrade.Open(c.disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true, Vars: c.vars,
		Cmdline: new(string), BootID: "x", Version: "x"})
	require.NoError(c.t, err)
	defer m.Close()
	st, err := m.Status()
	require.NoError(c.t, err)
	return st
}
