package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// fake is a machine for what a real one does not do on demand: hang, fail at a given call, be on trial. What really
// happens to a disk is tested in cmd/pawl.
type fake struct {
	mu      sync.Mutex
	busy    bool // opened for writing
	status  report.Status
	boot    upgrade.Boot
	calls   []string
	reboots []string
	images  map[string]*image.Image
	marks   []attempt.Mark // that were set last
	left    []attempt.Mark // that an attempt begins with
	loaded  []string       // command lines of kernels
	reached []string       // how far the trial came
	early   bool           // the API waits for Start
	values  map[uint8][]byte

	hang map[string]chan struct{} // the call of that name waits until the channel is closed, or its context ends
	deaf map[string]chan struct{} // as hang, but without regard to the context
	fail map[string]error
}

func newFake() *fake {
	one := report.Slot{Slot: bootloader.A, Content: report.Complete, Manifest: bootloader.Manifest{Version: "1",
		Image: "sha256:1"}}
	return &fake{
		status: report.Status{
			Version: "1", Loader: bootloader.State{Active: bootloader.A, Default: bootloader.A},
			Slots: [2]report.Slot{one, {Slot: bootloader.B, Content: report.Empty}},
		},
		images: map[string]*image.Image{"os:2": {Reference: "os:2", Digest: "sha256:2", Version: "2"}},
		hang:   map[string]chan struct{}{}, deaf: map[string]chan struct{}{}, fail: map[string]error{},
	}
}

// onTrial makes this boot the trial of version 2 in slot B.
func (f *fake) onTrial() *fake {
	two := report.Slot{Slot: bootloader.B, Content: report.Complete, Manifest: bootloader.Manifest{Version: "2",
		Image: "sha256:2"}}
	a := &attempt.Attempt{ID: "a", Kind: attempt.Upgrade, State: attempt.Started, From: "A", To: "B", Old: "1",
		Version: "2", Image: "sha256:2"}
	f.status.Version, f.status.Loader.Active, f.status.Slots[1], f.status.Attempt = "2", bootloader.B, two, a
	f.boot = upgrade.Boot{Trial: true, Attempt: a}
	return f
}

// unordered makes this boot one of version 2 in slot B that no attempt ordered.
func (f *fake) unordered() *fake {
	f.onTrial()
	f.status.Attempt, f.status.Unordered = nil, "META holds no attempt"
	f.boot = upgrade.Boot{Unordered: f.status.Unordered}
	return f
}

// server is a Server on f, with its reboots recorded.
func (f *fake) server(t *testing.T, c Config) *Server {
	c.Disk, c.Machine.BootID = "disk.raw", "boot-1"
	if c.Reboot == nil {
		c.Reboot = func(_ context.Context, reason string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.reboots = append(f.reboots, reason)
			return f.fail["reboot"]
		}
	}
	s, err := New(c)
	require.NoError(t, err)
	if !f.early {
		s.recorded() // without a start
	}
	t.Cleanup(func() {
		for _, c := range f.deaf {
			close(c)
		}
		require.NoError(t, s.Close())
	})
	s.open = func(readOnly bool) (machine, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := f.fail["open"]; err != nil {
			return nil, err
		}
		if f.busy && !readOnly {
			return nil, errors.New("the disk is held already") // the server must not let it come to this
		}
		f.busy = f.busy || !readOnly
		return &handle{f, readOnly}, nil
	}
	s.labels = func() ([]string, error) { return []string{"EFI", "META", "STATE", "EPHEMERAL"}, f.fail["labels"] }
	s.kexecCheck = func() error { return f.fail["kexec check"] }
	s.kexecLoad = func(k kexec.Kernel) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.loaded = append(f.loaded, k.Cmdline)
		return f.fail["load"]
	}
	s.unmount = func(ctx context.Context, m *mounted) error { return f.call(ctx, "unmount") }
	s.isFree = func(ctx context.Context) error { return f.call(ctx, "free") }
	s.pull = func(_ context.Context, ref string) (*image.Image, error) {
		if img := f.images[ref]; img != nil {
			return img, nil
		}
		return nil, fmt.Errorf("find %s: %w", ref, image.ErrNotFound)
	}
	return s
}

// call records a call and does what the test asked of it.
func (f *fake) call(ctx context.Context, name string) error {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	hang, deaf, err := f.hang[name], f.deaf[name], f.fail[name]
	f.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// let ends what is deaf under that name.
func (f *fake) let(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.deaf[name])
	delete(f.deaf, name)
}

func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fake) rebooted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.reboots...)
}

// handle is a fake that was opened.
type handle struct {
	*fake
	readOnly bool
}

func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy = h.busy && h.readOnly
	if closing := h.deaf["close"]; closing != nil && !h.readOnly {
		h.mu.Unlock()
		<-closing
		h.mu.Lock()
	}
	return nil
}

func (h *handle) Runs() (bootloader.State, string, error) {
	st, err := h.Status()
	return st.Loader, st.Version, err
}

func (h *handle) Status() (report.Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status, h.fail["status"]
}

func (h *handle) Plan(ctx context.Context, img *image.Image, o upgrade.Options) (upgrade.Plan, error) {
	return upgrade.Plan{
		Kind: attempt.Upgrade, From: "A", To: "B", Old: "1", Version: img.Version, Image: img.Digest,
		Reference: img.Reference, Steps: []progress.Step{progress.StepWrite}, Preserve: o.Preserve,
	}, h.call(ctx, "plan")
}

func (h *handle) Prepare(ctx context.Context, img *image.Image, o upgrade.Options) (attempt.Attempt, error) {
	o.Progress(progress.Event{Step: progress.StepWrite})
	for n := int64(1); n <= 100; n++ {
		o.Progress(progress.Event{Step: progress.StepWrite, File: "os.efi", Bytes: n, Total: 100})
	}
	err := h.call(ctx, "prepare")
	o.Progress(progress.Event{Step: progress.StepWrite, Done: true, Err: err, Elapsed: time.Second})
	return h.attempt(img, attempt.Prepared), err
}

func (h *handle) attempt(img *image.Image, phase attempt.State) attempt.Attempt {
	return attempt.Attempt{ID: "a", Kind: attempt.Upgrade, State: phase, From: "A", To: "B", Old: "1",
		Version: img.Version, Image: img.Digest, Marks: h.left}
}

func (h *handle) Arm(ctx context.Context, o upgrade.Options) (attempt.Attempt, error) {
	call := "arm"
	if o.Kexec {
		call = "arm by kexec"
	}
	if err := h.call(ctx, call); err != nil {
		return attempt.Attempt{}, err // as when META cannot be read
	}
	return h.attempt(h.images["os:2"], attempt.Armed), nil
}

func (h *handle) Stage(ctx context.Context, img *image.Image, o upgrade.Options) (attempt.Attempt, error) {
	a := h.attempt(img, attempt.Staged)
	a.Stage = true
	return a, h.call(ctx, "stage")
}

func (h *handle) ApplyStaged(ctx context.Context, _ upgrade.Options) (attempt.Attempt, error) {
	return h.attempt(h.images["os:2"], attempt.Armed), h.call(ctx, "apply")
}

func (h *handle) Unstage(ctx context.Context) (attempt.Attempt, error) {
	return h.attempt(h.images["os:2"], attempt.Ended), h.call(ctx, "unstage")
}

func (h *handle) Abandon(ctx context.Context, reason string) error {
	return h.call(ctx, "abandon: "+reason)
}

func (h *handle) Mark(marks []attempt.Mark) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks = append([]attempt.Mark(nil), marks...)
	if a := h.status.Attempt; a != nil {
		marked := *a
		marked.Marks = h.marks
		h.status.Attempt = &marked
	}
	return h.fail["mark"]
}

func (h *handle) Kernel(s bootloader.Slot) (kexec.Kernel, error) {
	return kexec.Kernel{Cmdline: "pawl.slot=" + string(s)}, h.call(context.Background(), "kernel "+string(s))
}

func (h *handle) PrepareRollback(ctx context.Context, _ upgrade.Options) (attempt.Attempt, error) {
	if !h.status.Loader.Trial() {
		return h.attempt(h.images["os:2"], attempt.Prepared), h.call(ctx, "rollback")
	}
	a := h.attempt(h.images["os:2"], attempt.Ended)
	a.Result = attempt.Abandoned
	return a, h.call(ctx, "rollback")
}

func (h *handle) Started(ctx context.Context) (upgrade.Boot, error) {
	return h.boot, h.call(ctx, "started")
}

func (h *handle) Reached(_ context.Context, where string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reached = append(h.reached, where)
	return h.fail["reached"]
}

func (h *handle) Failed(ctx context.Context, reason string) error {
	return h.call(ctx, "failed: "+reason)
}

func (h *handle) Late(ctx context.Context, reason string) error {
	return h.call(ctx, "late: "+reason)
}

func (h *handle) ReplaceLoader(ctx context.Context, _ upgrade.LoaderOptions) (report.Loader, error) {
	if err := h.call(ctx, "replace the loader"); err != nil {
		return report.Loader{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Own.Same = true
	return h.status.Own, nil
}

func (h *handle) Repair(ctx context.Context) error { return h.call(ctx, "repair") }

func (h *handle) MetaValues() (map[uint8][]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.values), h.fail["META"]
}

func (h *handle) SetMetaValue(tag uint8, value []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.values == nil {
		h.values = map[uint8][]byte{}
	}
	h.values[tag] = value
	return h.fail["META"]
}

func (h *handle) MarkImage(image string, bad *attempt.Bad) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.KnownBad = nil
	if bad != nil {
		h.status.KnownBad = []attempt.Bad{*bad}
	}
	return h.fail["META"]
}

func (h *handle) Confirm(ctx context.Context, o upgrade.Options) (*attempt.Attempt, error) {
	call := "confirm"
	if o.Ordered {
		call = "confirm by order"
	}
	if err := h.call(ctx, call); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Loader.Default, h.status.Unordered = h.status.Loader.Active, ""
	if a := h.status.Attempt; a != nil {
		ended := *a
		ended.State, ended.Result = attempt.Ended, attempt.Confirmed
		h.status.Attempt = &ended
	}
	return h.status.Attempt, nil
}
