// Package soak takes upgrades on machines whose node service is under attack all the while: thousands of idle
// connections, slow requests, followers of events, junk, and images in hostile registries.
//
// Start with Run. It guarantees nothing; it finds out whether each upgrade is confirmed, how much memory the service
// takes at most, and whether it gives back what it took. Attacks are bounded in number and time, and only ever made on
// loopback.
package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/pawl-os/pawl/examples/os/usage"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// MostMemory is what a service may take, in MiB.
const MostMemory = 200

// Options say what is done. The zero value does nothing.
type Options struct {
	Upgrades int           // of a machine in a file
	Virtual  bool          // one more, of a virtual machine
	Load     Load          // on either
	Under    time.Duration // how long each machine is under load without doing anything else
	Log      io.Writer     // what happens
}

// Result is what was found.
type Result struct {
	Upgrades, Confirmed int
	Memory              int // MiB at most
	Leaked              int // files and goroutines that the service did not give back
}

// String is the last line for scripts.
func (r Result) String() string {
	return fmt.Sprintf("soak: upgrades=%d confirmed=%d rss_max_mib=%d leaked=%d", r.Upgrades, r.Confirmed, r.Memory,
		r.Leaked)
}

// Held reports whether all is as it has to be.
func (r Result) Held() bool {
	return r.Confirmed == r.Upgrades && r.Memory < MostMemory && r.Leaked == 0
}

// soak is one run.
type soak struct {
	Options
	Result
	registry *httptest.Server
}

// Run does what o says. The error is of what could not be tried; an upgrade that is not confirmed is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	dir, err := os.MkdirTemp("", "pawl-soak-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	s := &soak{Options: o, registry: httptest.NewServer(http.HandlerFunc(hostileRegistry))}
	defer s.registry.Close()
	defer s.registry.CloseClientConnections()
	if err := s.inFile(ctx, filepath.Join(dir, "file")); err != nil {
		return s.Result, fmt.Errorf("a machine in a file: %w", err)
	}
	if o.Virtual {
		if err := s.inQEMU(ctx, filepath.Join(dir, "virtual")); err != nil {
			return s.Result, fmt.Errorf("a virtual machine: %w", err)
		}
	}
	return s.Result, nil
}

func (s *soak) inFile(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	m, err := newInFile(ctx, dir)
	if err != nil {
		return err
	}
	m.on(ctx)
	defer m.off()
	if err := s.leaks(ctx, m.node, m.usage, m.target, s.host()); err != nil {
		return err
	}
	end, err := s.Load.begin(ctx, m.target, s.host())
	if err != nil {
		return err
	}
	defer end()
	for n := range s.Options.Upgrades {
		ref, err := m.image(ctx, fmt.Sprintf("1.0.%d", n+1))
		if err != nil {
			return err
		}
		s.upgrade(ctx, m.node, ref)
		s.Memory = max(s.Memory, m.most())
	}
	return nil
}

func (s *soak) inQEMU(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	m, err := newInQEMU(ctx, dir)
	if err != nil {
		return err
	}
	defer m.off()
	registry, err := seen(s.host())
	if err != nil {
		return err
	}
	// its processor and its network are emulated, and the attack is not to be on the emulation
	s.Load.Pause = most.Pause
	if err := s.leaks(ctx, m.node, m.usage, m.target, registry); err != nil {
		return err
	}
	end, err := s.Load.begin(ctx, m.target, registry)
	if err != nil {
		return err
	}
	defer end()
	time.Sleep(s.Under / 2)
	if _, err := m.usage(); err != nil { // the boot before the trial
		return err
	}
	s.upgrade(ctx, m.node, m.Remote("2.0.0"))
	if _, err := m.usage(); err != nil {
		return err
	}
	s.Memory = max(s.Memory, m.peak)
	return nil
}

func (s *soak) host() string { return s.registry.Listener.Addr().(*net.TCPAddr).String() }

// upgrade takes an upgrade to its confirmation, as an operator does who asks again when the node does not hear him.
func (s *soak) upgrade(ctx context.Context, node *client.Client, ref string) {
	s.Result.Upgrades++
	begun := time.Now()
	err := s.confirmed(ctx, node, ref)
	if err == nil {
		s.Confirmed++
	}
	fmt.Fprintf(s.Log, "%s: confirmed: %v, after %v\n", ref, err == nil, time.Since(begun).Round(time.Millisecond))
	if err != nil {
		fmt.Fprintln(s.Log, err)
	}
}

// tries is how often the node is asked, and patient for how long it may take to come back.
const (
	tries   = 20
	patient = 5 * time.Minute
)

func (s *soak) confirmed(ctx context.Context, node *client.Client, ref string) error {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	for try := 1; ; try++ {
		armed, err := node.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: ref, Reboot: true}, nil)
		if armed != nil { // or as good as that: the connection was lost meanwhile
			st, err := node.Wait(ctx, armed.Expected, nil)
			if err == nil && st.Trial {
				err = fmt.Errorf("it is still on trial")
			}
			return err
		}
		if try == tries || ctx.Err() != nil {
			return err
		}
		fmt.Fprintln(s.Log, "asked again:", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// leaks puts a machine under load that does nothing else, and sees that it gives back what it took.
func (s *soak) leaks(ctx context.Context, node *client.Client, measure func() (usage.Usage, error), target,
	registry string) error {
	if err := up(ctx, node); err != nil {
		return err
	}
	before, err := measure()
	for range 3 { // what a start takes is over soon
		time.Sleep(time.Second)
		u, again := measure()
		before.Files, before.Goroutines = min(before.Files, u.Files), min(before.Goroutines, u.Goroutines)
		err = errors.Join(err, again)
	}
	if err != nil {
		return err
	}
	end, err := s.Load.begin(ctx, target, registry)
	if err != nil {
		return err
	}
	time.Sleep(s.Under)
	under, err := measure()
	end()
	if err != nil {
		return err
	}
	s.Memory = max(s.Memory, under.Peak)
	var after usage.Usage
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); time.Sleep(time.Second) {
		if after, err = measure(); err != nil {
			return err
		}
		if after.Files <= before.Files && after.Goroutines <= before.Goroutines {
			break
		}
	}
	s.Leaked += max(0, after.Files-before.Files) + max(0, after.Goroutines-before.Goroutines)
	fmt.Fprintf(s.Log, "%s: before %+v, under load %+v, after %+v\n", target, before, under, after)
	return nil
}

// up waits until the node answers.
func up(ctx context.Context, node *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := node.Status(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
