package cuts

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// Options chooses what is cut.
type Options struct {
	Loader  string
	Cuts    []Cut         // nil: all of Table
	Workers int           // machines at a time; 0 is 1
	Within  time.Duration // for a boot or a command; 0 is three minutes
	Log     io.Writer
}

// Result counts the phases, and says of each that went wrong how.
type Result struct {
	Cases, OK int
	Wrong     []string
}

// String is the last line of the command.
func (r Result) String() string {
	return fmt.Sprintf("cuts: cases=%d ok=%d wrong=%d", r.Cases, r.OK, len(r.Wrong))
}

// Run cuts machines in QEMU. One machine takes one cut after the other: the boot that shows how a cut ended is the one
// in which the next upgrade begins, so each cut is also followed by an upgrade that works. The error is of what has
// nothing to do with any cut.
func Run(ctx context.Context, o Options) (r Result, err error) {
	if o.Cuts == nil {
		o.Cuts = Table()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Within == 0 {
		o.Within = 6 * time.Minute
	}
	dir, err := os.MkdirTemp("", "pawl-cuts-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	nodes, err := oskit.NewNodes(ctx, dir, o.Loader)
	if err != nil {
		return r, err
	}
	defer nodes.Close() // only a registry's listener
	work := make(chan Cut, len(o.Cuts))
	for _, c := range o.Cuts {
		work <- c
	}
	close(work)
	var mu sync.Mutex
	var all sync.WaitGroup
	errs := make([]error, max(o.Workers, 1))
	for i := range errs {
		all.Go(func() {
			m := &machine{Nodes: nodes, name: fmt.Sprintf("machine-%d", i), within: o.Within}
			errs[i] = m.work(ctx, work, func(c Cut, took time.Duration, said string, wrong error) {
				mu.Lock()
				defer mu.Unlock()
				r.Cases++
				if wrong == nil {
					r.OK++
				} else {
					said = "WRONG: " + wrong.Error()
					r.Wrong = append(r.Wrong, fmt.Sprintf("%s, %s: %v", c.Order, c.At, wrong))
				}
				fmt.Fprintf(o.Log, "%5.1f s  %-8s %-30s %s\n", took.Seconds(), c.Order, c.At, said)
			})
		})
	}
	all.Wait()
	for _, e := range errs {
		if e != nil {
			return r, e
		}
	}
	return r, nil
}

// machine is one machine that is cut again and again.
type machine struct {
	*oskit.Nodes
	name   string
	within time.Duration
	config vmtest.Config
	vm     *vmtest.Machine
	runs   string // tag
	slot   string
	last   string // id of the latest attempt
}

// work installs the machine, and takes cuts for as long as there are any. A machine on which something went wrong is
// thrown away, so that it says nothing of the next cut.
func (m *machine) work(ctx context.Context, cuts <-chan Cut, tell func(Cut, time.Duration, string, error)) error {
	defer func() {
		if m.vm != nil {
			_ = m.vm.Kill()
		}
	}()
	for c := range cuts {
		if m.vm == nil {
			if err := m.begin(ctx); err != nil {
				return err
			}
		}
		begin := time.Now()
		said, err := m.cut(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tell(c, time.Since(begin), said, err)
		if err != nil {
			_ = m.vm.Kill()
			m.vm = nil
		}
	}
	return nil
}

func (m *machine) begin(ctx context.Context) (err error) {
	if m.config, err = m.Install(ctx, m.name); err != nil {
		return err
	}
	if m.vm, err = vmtest.Start(ctx, m.config); err != nil {
		return err
	}
	if _, err := m.vm.Event(m.within, "ready"); err != nil {
		return err
	}
	m.runs, m.slot, m.last = oskit.Tags[0], "A", ""
	return nil
}

// cut cuts the power in one phase and returns in words how that ended, after comparing it with the table.
func (m *machine) cut(ctx context.Context, c Cut) (string, error) {
	tag, slot := oskit.Tags[1], "B"
	if m.runs == tag {
		tag = oskit.Tags[2]
	}
	if m.slot == "B" {
		slot = "A"
	}
	if _, err := m.vm.Must("stop-at "+c.At, m.within); err != nil {
		return "", err
	}
	node, err := client.New(m.vm.Address(oskit.APIPort))
	if err != nil {
		return "", err
	}
	r := &pawlv1.UpgradeRequest{Image: m.Remote(tag), Force: true, Reboot: true, Stage: c.Order == Staged}
	if c.Order == Kexec {
		r.RebootMode = "kexec"
	}
	calling, hangUp := context.WithCancel(ctx)
	ordered := make(chan error, 1)
	go func() {
		_, err := node.Upgrade(calling, r, nil)
		ordered <- err
	}()
	e, err := m.vm.Event(m.within, "held", "ready")
	if err == nil && e.Name != "held" {
		err = fmt.Errorf("it was never reached: %v", e.Values)
	}
	if err == nil {
		err = m.vm.Kill()
	}
	hangUp()
	if said := <-ordered; err != nil {
		return "", fmt.Errorf("%w (the order: %v)", err, said)
	}
	if m.vm, err = vmtest.Start(ctx, m.config); err != nil {
		return "", err
	}
	if c.New {
		m.runs, m.slot = tag, slot
	}
	return m.look(ctx, c)
}

// look waits for the machine to be settled and compares it with what it should be.
func (m *machine) look(ctx context.Context, c Cut) (string, error) {
	e, err := m.vm.Event(m.within, "ready")
	if err != nil {
		return "", err
	}
	v := e.Values
	want := []string{m.runs, m.Digests[m.runs], m.slot, m.slot}
	if got := []string{v["version"], v["digest"], v["slot"], v["default"]}; !slices.Equal(got, want) {
		return "", fmt.Errorf("version, digest, slot and default are %v, not %v", got, want)
	}
	out, err := m.vm.Must("records", m.within)
	if err != nil {
		return "", err
	}
	if record := fmt.Sprintf(`{"cordoned":false,"left":false,"config":"%s"`, m.runs); !strings.Contains(out, record) {
		return "", fmt.Errorf("not all was undone: %s", out)
	}
	node, err := client.New(m.vm.Address(oskit.APIPort))
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	st, err := node.Status(limited)
	if err != nil {
		return "", err
	}
	said := "no attempt"
	if a := st.Attempt; a != nil && a.Id != m.last {
		said, m.last = strings.TrimSuffix(a.Result+": "+a.Reason, ": "), a.Id
	}
	switch {
	case st.Armed != "" || st.Trial || st.Problem != "":
		return "", fmt.Errorf("armed %q, on trial: %v, problem %q", st.Armed, st.Trial, st.Problem)
	case c.Says == "" && said != "no attempt", !strings.Contains(said, c.Says):
		return "", fmt.Errorf("of the attempt it says %q, not %q", said, c.Says)
	}
	return fmt.Sprintf("%s in slot %s; %s", m.runs, m.slot, said), nil
}
