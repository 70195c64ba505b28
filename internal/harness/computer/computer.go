// Package computer is a machine for tests that needs no QEMU and is served: its disk is a file, its firmware and loader
// are the model, and what it boots runs the whole node service, as pawld does, and restarts when that says so. Start
// with New.
package computer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
)

// Software is what an image does once it runs.
type Software struct {
	Version string
	Dies    bool // before its node service starts
	Checks  []node.Check
	Hooks   []node.Hook
}

// Computer is one machine.
type Computer struct {
	t      testing.TB
	serve  api.RunOptions
	disk   string
	vars   *efivar.Memory
	images *virtual.Images
	log    safe

	mu     sync.Mutex
	os     map[string]Software // by the digest of the UKI
	boots  []string
	stop   context.CancelFunc // ends what runs
	ended  chan error         // what ran
	broken error              // why it does not boot any more
	over   bool
}

// New returns a computer on which first is installed and runs, served as o says. It is switched off when the test ends.
func New(t testing.TB, first Software, o api.RunOptions) *Computer {
	t.Helper()
	c := &Computer{t: t, serve: o, disk: filepath.Join(t.TempDir(), "disk.raw"), vars: efivar.NewMemory(),
		os: map[string]Software{}}
	images, err := virtual.NewImages(context.Background(), t.TempDir())
	c.check(err)
	c.images = images
	img, err := image.Open(context.Background(), c.Image(first), image.Options{})
	c.check(err)
	raw, err := disk.Create(c.disk, virtual.Size)
	c.check(err)
	c.check(upgrade.Install(context.Background(), raw, img, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	c.check(raw.Close())
	c.check(c.on())
	t.Cleanup(func() {
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
		c.off()
		if t.Failed() {
			t.Log(c.log.String())
		}
		c.check(c.broken)
	})
	return c
}

func (c *Computer) check(err error) {
	if err != nil {
		c.t.Helper()
		c.t.Fatal(err)
	}
}

// Image makes an installer image of s, and returns its reference.
func (c *Computer) Image(s Software) string {
	ref, err := c.images.Reference(s.Version, virtual.Spec{Size: 1 << 20})
	c.check(err)
	img, err := image.Open(context.Background(), ref, image.Options{})
	c.check(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range img.Assets {
		if a.Name == pack.UKIAsset {
			c.os[a.SHA256] = s
		}
	}
	return ref
}

// Boots is what has booted so far: "1.0.0 in A", "2.0.0 in B on trial".
func (c *Computer) Boots() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.boots...)
}

// on switches it on.
func (c *Computer) on() error {
	raw, err := disk.Options{ReadOnly: true}.Open(c.disk)
	if err != nil {
		return err
	}
	outcome, err := predict.Boot(raw, c.vars, predict.Options{})
	if err := errors.Join(err, raw.Close()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.os[outcome.Digest]
	if !ok {
		return fmt.Errorf("it boots nothing that is known: %s", outcome)
	}
	boot := fmt.Sprintf("%s in %s", s.Version, outcome.Slot)
	if outcome.Trial {
		boot += " on trial"
	}
	c.boots = append(c.boots, boot)
	if s.Dies {
		c.mu.Unlock()
		defer c.mu.Lock()
		return c.on()
	}
	c.run(s, fmt.Sprintf("boot-%d", len(c.boots)))
	return nil
}

// run is the system that booted; c.mu is held.
func (c *Computer) run(s Software, bootID string) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	c.stop, c.ended = stop, ended
	config := node.Config{
		Disk: c.disk, Checks: s.Checks, Hooks: s.Hooks, TrialDeadline: time.Minute,
		Log: slog.New(slog.NewTextHandler(&c.log, nil)),
		Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: c.vars, Cmdline: new(string), BootID: bootID,
			Version: s.Version},
		Reboot: func(context.Context, string) error {
			go c.again()
			return nil
		},
	}
	go func() { ended <- api.Run(ctx, config, c.serve) }()
}

// again restarts it.
func (c *Computer) again() {
	c.off()
	c.mu.Lock()
	over := c.over
	c.mu.Unlock()
	if over {
		return
	}
	if err := c.on(); err != nil {
		c.mu.Lock()
		c.broken = errors.Join(c.broken, err)
		c.mu.Unlock()
	}
}

// off ends what runs, and waits for it.
func (c *Computer) off() {
	c.mu.Lock()
	stop, ended := c.stop, c.ended
	c.mu.Unlock()
	stop()
	ended <- <-ended // for whoever else waits
}

// safe is a log of several writers.
type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
