package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/partition"
)

// records is what this OS remembers of itself: a line of JSON in the partition STATE, behind its first block. It stands
// for what a node's hooks really change, here or elsewhere.
type records struct {
	Cordoned bool   `json:"cordoned"`
	Left     bool   `json:"left"`
	Config   string `json:"config"` // the version that the configuration is for
	Before   string `json:"before"` // Config before the migration
	Stop     string `json:"stop"`   // see hooks.stopAt
}

// patience is how long a hook may take, since a test can have it wait.
const patience = 10 * time.Minute

// hooks are what this OS does in each phase around an upgrade. Each is reported.
type hooks struct {
	version, disk string
	stop          string // records.Stop; changed only while nothing else runs

	mu    sync.Mutex
	fails map[string]bool          // phases that are to fail, by the console's command
	waits map[string]chan struct{} // phases that are to wait, until it is closed
}

func (h *hooks) all() (all []node.Hook) {
	for _, p := range node.HookPhases() {
		all = append(all, node.Hook{Phase: p, Name: "os", Deadline: patience, Run: h.run})
	}
	return all
}

func (h *hooks) run(_ context.Context, o node.Occasion) error {
	h.wait(string(o.Phase))
	err := h.change(o)
	if err == nil && h.failing(string(o.Phase)) {
		err = errors.New("as it was told to")
	}
	done := "done"
	switch {
	case errors.Is(err, node.ErrAlready):
		done = "already"
	case err != nil:
		done = err.Error()
	}
	pid1.Report("hook", "phase", string(o.Phase), "sure", fmt.Sprint(o.Sure), "result", done)
	return err
}

// change does what a phase is for.
func (h *hooks) change(o node.Occasion) error {
	return h.update(func(r *records) error {
		switch o.Phase {
		case node.PhaseCordon:
			if r.Cordoned {
				return node.ErrAlready
			}
			r.Cordoned = true
		case node.PhaseUncordon:
			r.Cordoned = false
		case node.PhaseLeave:
			r.Left = true
		case node.PhaseRejoin:
			r.Left = false
		case node.PhaseMigrate:
			if r.Config != h.version {
				r.Config, r.Before = h.version, r.Config
			}
		case node.PhaseRevert:
			if r.Config != h.version {
				r.Config, r.Before = r.Before, ""
			}
		}
		return nil
	})
}

// show prints the records.
func (h *hooks) show(out io.Writer) error {
	return h.update(func(r *records) error { return json.NewEncoder(out).Encode(r) })
}

// read learns what earlier boots left.
func (h *hooks) read() error {
	return h.update(func(r *records) error { h.stop = r.Stop; return nil })
}

// The line takes one sector, so that a power cut leaves the old one or the new one.
const (
	recordAt   = 4096
	recordSize = 512
)

// update changes the records.
func (h *hooks) update(change func(*records) error) (err error) {
	d, err := partition.Open(h.disk, partition.OpenOptions{Partitions: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.Partition("STATE")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	line := make([]byte, recordSize)
	if _, err := p.ReadAt(line, recordAt); err != nil {
		return err
	}
	r := records{Config: h.version} // of an installation, in its first boot
	if line[0] != 0 {
		if err := json.Unmarshal(trimZeros(line), &r); err != nil {
			return fmt.Errorf("read STATE: %w", err)
		}
	}
	was := r
	if err := change(&r); err != nil || was == r && line[0] != 0 {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	clear(line)
	copy(line, append(text, '\n'))
	if _, err := p.WriteAt(line, recordAt); err != nil {
		return err
	}
	return p.Sync()
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

func (h *hooks) failing(phase string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fails[phase]
}

// wait waits for as long as the console says.
func (h *hooks) wait(phase string) {
	h.mu.Lock()
	until := h.waits[phase]
	h.mu.Unlock()
	if until != nil {
		pid1.Report("waits", "phase", phase)
		<-until
	}
}

// hold has hooks wait from now on in the phases that are named, and ends all other waiting.
func (h *hooks) hold(phases []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, until := range h.waits {
		close(until)
	}
	h.waits = map[string]chan struct{}{}
	for _, p := range phases {
		h.waits[p] = make(chan struct{})
	}
}

// fail has hooks fail from now on in the phases that are named, and in no others.
func (h *hooks) fail(phases []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = map[string]bool{}
	for _, p := range phases {
		h.fails[p] = true
	}
}
