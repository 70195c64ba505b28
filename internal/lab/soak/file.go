package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/examples/os/usage"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/upgrade"
)

// inFile is a machine whose disk and variables are files, and whose firmware and loader are the model. Each boot is a
// process.
type inFile struct {
	system
	images   *virtual.Images
	versions map[string]string // by the digest of the file that boots
	node     *client.Client
	target   string // of its API, over TCP
	cancel   context.CancelFunc
	over     chan error

	mu    sync.Mutex
	in    io.Writer
	out   *bufio.Reader
	boots int
	peak  int // MiB, of all boots
}

func newInFile(ctx context.Context, dir string) (*inFile, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0") // the same in each boot
	if err != nil {
		return nil, err
	}
	m := &inFile{target: free.Addr().String(), versions: map[string]string{}, over: make(chan error, 1)}
	socket := "unix:" + filepath.Join(dir, "pawl.sock")
	m.system = system{Disk: filepath.Join(dir, "disk.raw"), Vars: filepath.Join(dir, "variables"),
		Listen: []string{socket, m.target}}
	if err := errors.Join(free.Close(), os.Mkdir(m.Vars, 0o700)); err != nil {
		return nil, err
	}
	if m.node, err = client.New(socket); err != nil {
		return nil, err
	}
	if m.images, err = virtual.NewImages(ctx, filepath.Join(dir, "images")); err != nil {
		return nil, err
	}
	ref, err := m.image(ctx, "1.0.0")
	if err != nil {
		return nil, err
	}
	img, err := image.Open(ctx, ref, image.Options{})
	if err != nil {
		return nil, err
	}
	raw, err := disk.Create(m.Disk, virtual.Size)
	if err != nil {
		return nil, err
	}
	err = upgrade.Install(ctx, raw, img, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()})
	return m, errors.Join(err, raw.Close())
}

// image makes a version and returns its reference.
func (m *inFile) image(ctx context.Context, version string) (string, error) {
	ref, err := m.images.Reference(version, virtual.Spec{Size: 1 << 20})
	if err != nil {
		return "", err
	}
	img, err := image.Open(ctx, ref, image.Options{})
	if err != nil {
		return "", err
	}
	for _, a := range img.Assets {
		if a.Name == pack.UKIAsset {
			m.mu.Lock()
			m.versions[a.SHA256] = version
			m.mu.Unlock()
		}
	}
	return ref, nil
}

// on switches the machine on, again and again, until off.
func (m *inFile) on(ctx context.Context) {
	ctx, m.cancel = context.WithCancel(ctx)
	go func() {
		for {
			err := m.boot(ctx)
			exit := new(exec.ExitError)
			if !errors.As(err, &exit) || exit.ExitCode() != restarts || ctx.Err() != nil {
				m.over <- err
				return
			}
		}
	}()
}

func (m *inFile) off() {
	m.cancel()
	<-m.over
}

// boot is one boot, from what the model says starts to the end of its process.
func (m *inFile) boot(ctx context.Context) error {
	raw, err := disk.Options{ReadOnly: true}.Open(m.Disk)
	if err != nil {
		return err
	}
	vars := efivar.NewMemory()
	if err := replace(vars, efivar.OpenFiles(m.Vars)); err != nil {
		return errors.Join(err, raw.Close())
	}
	outcome, err := predict.Boot(raw, vars, predict.Options{}) // which uses up what is for one boot
	if err := errors.Join(err, raw.Close(), replace(efivar.OpenFiles(m.Vars), vars)); err != nil {
		return err
	}
	m.mu.Lock()
	m.boots++
	s := m.system
	s.Boot, s.Version = fmt.Sprintf("boot-%d", m.boots), m.versions[outcome.Digest]
	m.mu.Unlock()
	if s.Version == "" {
		return fmt.Errorf("nothing that is known boots: %s", outcome)
	}
	c, err := s.command(ctx)
	if err != nil {
		return err
	}
	c.Stderr = os.Stderr
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		return err
	}
	m.mu.Lock()
	m.in, m.out = in, bufio.NewReader(out)
	m.mu.Unlock()
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watch(watching, c.Process.Pid)
	}()
	err = c.Wait()
	stop()
	<-watched
	return err
}

// replace makes the variables in to those in from.
func replace(to, from efivar.Store) error {
	old, err := to.List()
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := to.Delete(name); err != nil {
			return err
		}
	}
	all, err := from.List()
	if err != nil {
		return err
	}
	for _, name := range all {
		v, err := from.Read(name)
		if err != nil {
			return err
		}
		if err := to.Write(name, v); err != nil {
			return err
		}
	}
	return nil
}

// watch notes how much memory a process takes at most.
func (m *inFile) watch(ctx context.Context, pid int) {
	for {
		if peak, err := usage.Memory(pid, "VmHWM:"); err == nil { // it may have ended
			m.mu.Lock()
			m.peak = max(m.peak, peak)
			m.mu.Unlock()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// usage asks the process of this boot.
func (m *inFile) usage() (u usage.Usage, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := fmt.Fprintln(m.in); err != nil {
		return u, err
	}
	line, err := m.out.ReadBytes('\n')
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(line, &u)
}

func (m *inFile) most() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}
