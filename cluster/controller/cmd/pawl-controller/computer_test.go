package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
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
	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/upgrade"
)

// lab is a registry, the images in it, a disk with version 1.0.0, and the files of an authority and of a client.
type lab struct {
	t        *testing.T
	registry string
	versions map[string]string // by the digest of the UKI
	disk     []byte
	dir      string
}

// broken is the version whose checks fail.
const broken = "3.0.0"

func newLab(t *testing.T) *lab {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	l := &lab{t: t, registry: strings.TrimPrefix(server.URL, "http://"), versions: map[string]string{}, dir: t.TempDir()}
	images, err := virtual.NewImages(t.Context(), l.dir)
	require.NoError(t, err)
	layout, err := pack.Create(l.dir)
	require.NoError(t, err)
	for _, version := range []string{"1.0.0", "2.0.0", broken} {
		_, err := images.Reference(version, virtual.Spec{Size: 1 << 20})
		require.NoError(t, err)
		built, err := layout.Find("v" + version)
		require.NoError(t, err)
		_, err = layout.Push(t.Context(), built, l.reference(version), pack.PushOptions{})
		require.NoError(t, err)
		img, err := image.Open(t.Context(), l.reference(version), image.Options{})
		require.NoError(t, err)
		for _, a := range img.Assets {
			if a.Name == pack.UKIAsset {
				l.versions[a.SHA256] = version
			}
		}
	}
	one, err := image.Open(t.Context(), l.reference("1.0.0"), image.Options{})
	require.NoError(t, err)
	path := filepath.Join(l.dir, "disk.raw")
	raw, err := disk.Create(path, virtual.Size)
	require.NoError(t, err)
	require.NoError(t, upgrade.Install(t.Context(), raw, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	require.NoError(t, raw.Close())
	l.disk, err = os.ReadFile(path)
	require.NoError(t, err)
	l.certificates()
	return l
}

func (l *lab) reference(version string) string { return l.registry + "/os:" + version }

func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }

// certificates are those of the nodes, and of a client that is an admin.
func (l *lab) certificates() {
	term := certs.Term{Now: time.Now(), Life: time.Hour}
	ca, err := certs.NewAuthority("test", certs.Term{Now: time.Now(), Life: 24 * time.Hour})
	require.NoError(l.t, err)
	ofNode, err := ca.Node([]string{"127.0.0.1"}, term)
	require.NoError(l.t, err)
	client, err := ca.Client("pawl-controller", access.Admin.Organization(), term)
	require.NoError(l.t, err)
	require.NoError(l.t, os.WriteFile(l.file("ca.crt"), ca.CertPEM(), 0o600))
	for name, p := range map[string]certs.Pair{"node": ofNode, "client": client} {
		key, err := p.KeyPEM()
		require.NoError(l.t, err)
		require.NoError(l.t, os.WriteFile(l.file(name+".crt"), p.CertPEM(), 0o600))
		require.NoError(l.t, os.WriteFile(l.file(name+".key"), key, 0o600))
	}
}

// computer is a machine with a disk in a file, whose firmware and loader are the model. What it boots runs the node
// service as pawld does, over TLS, and restarts when that says so.
type computer struct {
	*lab
	name    string
	disk    string
	vars    *efivar.Memory
	address string
	hook    func(phase string) // is called as each phase of an upgrade begins; may be nil

	mu     sync.Mutex
	log    bytes.Buffer
	boots  []string // "1.0.0 in A", "2.0.0 in B on trial"
	orders int      // upgrades that were begun
	off    func()
	wait   sync.WaitGroup
}

func (l *lab) computer(t *testing.T, name string) *computer {
	t.Helper()
	c := &computer{lab: l, name: name, disk: filepath.Join(t.TempDir(), "disk.raw"), address: "127.0.0.1:0",
		vars: efivar.NewMemory()}
	require.NoError(t, os.WriteFile(c.disk, l.disk, 0o600))
	c.on()
	t.Cleanup(func() {
		c.wait.Wait()
		c.stop()
		if t.Failed() {
			t.Logf("%s: %s", c.name, c.said())
		}
	})
	return c
}

// Write takes the log.
func (c *computer) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(b)
}

func (c *computer) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

// history is what has booted, and how many upgrades were begun.
func (c *computer) history() (boots []string, orders int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.boots...), c.orders
}

// on switches the computer on.
func (c *computer) on() {
	raw, err := disk.Options{ReadOnly: true}.Open(c.disk)
	require.NoError(c.t, err)
	outcome, err := predict.Boot(raw, c.vars, predict.Options{})
	require.NoError(c.t, errors.Join(err, raw.Close()))
	require.Empty(c.t, outcome.Stuck)
	version := c.versions[outcome.Digest]
	boot := fmt.Sprintf("%s in %s", version, outcome.Slot)
	if outcome.Trial {
		boot += " on trial"
	}
	c.mu.Lock()
	c.boots = append(c.boots, boot)
	id := fmt.Sprintf("%s-boot-%d", c.name, len(c.boots))
	c.mu.Unlock()
	c.run(version, id)
}

func (c *computer) observe(at node.Place) {
	if at.Operation != "upgrade" || at.Phase == "" {
		return
	}
	c.mu.Lock()
	if at.Phase == "resolve" {
		c.orders++
	}
	hook := c.hook
	c.mu.Unlock()
	if hook != nil {
		hook(string(at.Phase))
	}
}

// run is the system that booted.
func (c *computer) run(version, bootID string) {
	ctx, stop := context.WithCancel(context.Background())
	logs := slog.New(slog.NewTextHandler(c, nil))
	config := node.Config{Disk: c.disk, TrialDeadline: time.Minute, Window: 10 * time.Millisecond, Log: logs,
		Observe: c.observe, Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: c.vars, Cmdline: new(string),
			BootID: bootID, Version: version},
		Reboot: func(context.Context, string) error {
			c.wait.Go(func() { c.stop(); c.on() })
			return nil
		}}
	if version == broken {
		config.Checks = []node.Check{{Name: "kubelet", Run: func(context.Context) error {
			return errors.New("it does not come up")
		}}}
	}
	n, err := node.New(config)
	require.NoError(c.t, err)
	if _, err = n.Start(ctx); errors.Is(err, node.ErrRestarting) {
		stop()
		_ = n.Close()
		return
	}
	require.NoError(c.t, err)
	control, err := access.New(access.Options{Cert: c.file("node.crt"), Key: c.file("node.key"),
		ClientCA: c.file("ca.crt"), Log: logs})
	require.NoError(c.t, err)
	var l net.Listener
	require.Eventually(c.t, func() bool {
		l, err = api.Listen(ctx, c.address, false)
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	c.mu.Lock()
	c.address = l.Addr().String()
	c.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() { _ = api.New(n, api.Options{Access: control, Log: logs}).Serve(ctx, l) })
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
