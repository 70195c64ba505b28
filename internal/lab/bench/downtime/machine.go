package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

const (
	every   = 10 * time.Millisecond // between two questions
	patient = time.Second           // for each answer
	within  = 3 * time.Minute       // for a machine to be back
)

// machine is the machine that is measured.
type machine struct {
	*oskit.Nodes
	dir  string
	vm   *vmtest.Machine
	node *client.Client
	runs map[string]string // what the guest reported of its latest boot
	warm bool              // that boot was by kexec
}

func start(ctx context.Context) (*machine, error) {
	dir, err := os.MkdirTemp("", "pawl-downtime-")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir}
	if err := m.start(ctx); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machine) start(ctx context.Context) (err error) {
	if m.Nodes, err = oskit.NewNodes(ctx, m.dir, loaders.SystemdBoot, "nokaslr"); err != nil { // see warmUp
		return err
	}
	c, err := m.Install(ctx, "machine")
	if err != nil {
		return err
	}
	if m.vm, err = vmtest.Start(ctx, c); err != nil {
		return err
	}
	if m.node, err = client.New(m.vm.Address(oskit.APIPort)); err != nil {
		return err
	}
	return m.ready()
}

func (m *machine) close() {
	if m.vm != nil {
		_ = m.vm.Kill()
	}
	if m.Nodes != nil {
		_ = m.Nodes.Close()
	}
	os.RemoveAll(m.dir)
}

func (m *machine) ready() error {
	e, err := m.vm.Event(within, "ready")
	m.runs = e.Values
	return err
}

func (m *machine) bareRestart(context.Context) error { return m.vm.Send("0 reboot") }

func (m *machine) bareKexec(context.Context) error { return m.vm.Send("0 kexec " + m.runs["slot"]) }

func (m *machine) reboot(ctx context.Context) error {
	_, err := m.node.Reboot(ctx, &pawlv1.RebootRequest{RebootMode: "kexec"})
	return err
}

func (m *machine) upgrade(ctx context.Context, mode string) error {
	tag := oskit.Tags[1]
	if m.runs["version"] == tag {
		tag = oskit.Tags[2]
	}
	_, err := m.node.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: m.Remote(tag), Force: true, Reboot: true,
		RebootMode: mode}, nil)
	return err
}

// warmUp makes every row begin with a kernel that was started by kexec and lies where each of those does. Software
// emulation takes seconds longer to write over what was code, so it matters where the kernel before lay; and to start a
// kernel by kexec takes longer from one that was started so itself.
func (m *machine) warmUp(ctx context.Context) error {
	if m.warm {
		return nil
	}
	if err := m.bareKexec(ctx); err != nil {
		return err
	}
	return m.ready()
}

// measure does what a row says while somebody asks, and returns for how long nobody answered.
func (m *machine) measure(ctx context.Context, r row) (time.Duration, error) {
	if err := m.warmUp(ctx); err != nil {
		return 0, err
	}
	before, line := m.runs, len(m.vm.Lines())
	asking, stop := context.WithCancel(ctx)
	a := &asker{node: m.node, more: make(chan struct{}, 1), over: make(chan struct{})}
	go a.ask(asking)
	err := a.heard(ctx, before["boot"])
	if err == nil {
		err = r.do(m, ctx)
	}
	if err == nil {
		err = m.ready()
	}
	if err == nil {
		err = a.heard(ctx, m.runs["boot"])
	}
	stop()
	<-a.over
	switch {
	case err != nil:
		return 0, err
	case m.runs["boot"] == before["boot"]:
		return 0, errors.New("it has not restarted")
	case m.runs["default"] != m.runs["slot"]:
		return 0, fmt.Errorf("it is not confirmed: %v", m.runs)
	}
	if m.warm = m.jumped(line); m.warm != strings.Contains(r.name, "kexec") {
		return 0, fmt.Errorf("by kexec: %v", m.warm)
	}
	return gap(a.answers, before["boot"], m.runs["boot"])
}

// jumped reports whether the machine was restarted without its firmware since a line of its console.
func (m *machine) jumped(line int) bool {
	return !slices.ContainsFunc(m.vm.Lines()[line:], func(l vmtest.Line) bool {
		return strings.Contains(l.Text,
			"BdsDxe: ")
	})
}

// answer is when the node answered, and in which boot.
type answer struct {
	at   time.Time
	boot string
}

// asker asks the node service for its version again and again, each time over a new connection, whatever becomes of the
// others.
type asker struct {
	node *client.Client
	more chan struct{} // an answer has come
	over chan struct{} // closed when nothing is asked any more

	mu      sync.Mutex
	answers []answer
}

func (a *asker) ask(ctx context.Context) {
	defer close(a.over)
	var asked sync.WaitGroup
	defer asked.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		asked.Go(func() { a.once(ctx) })
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (a *asker) once(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	v, err := a.node.Version(limited)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.answers = append(a.answers, answer{time.Now(), v.BootId})
	a.mu.Unlock()
	select {
	case a.more <- struct{}{}:
	default:
	}
}

// heard waits for an answer of a boot.
func (a *asker) heard(ctx context.Context, boot string) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		a.mu.Lock()
		there := slices.ContainsFunc(a.answers, func(x answer) bool { return x.boot == boot })
		a.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-a.more:
		case <-limited.Done():
			return fmt.Errorf("no answer of boot %s: %w", boot, limited.Err())
		}
	}
}

// gap is the time from the last answer of one boot to the first of another.
func gap(answers []answer, from, to string) (time.Duration, error) {
	var last, first time.Time
	for _, a := range answers {
		if a.boot == from && a.at.After(last) {
			last = a.at
		}
		if a.boot == to && (first.IsZero() || a.at.Before(first)) {
			first = a.at
		}
	}
	if last.IsZero() || first.IsZero() {
		return 0, fmt.Errorf("of %d answers none was of each boot", len(answers))
	}
	return first.Sub(last), nil
}
