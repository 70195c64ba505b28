package deaths

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// dying is a machine on its way.
type dying struct {
	*world
	cell   Cell
	config vmtest.Config
	vm     *vmtest.Machine
	boots  map[string]bool // ids of boots that said that they are a trial
	starts int             // of the target, as GRUB tells
	cycles int
	cut    bool
}

// settle boots until a version has settled.
func (d *dying) settle(ctx context.Context, moment time.Duration) (s seen, err error) {
	if d.vm, err = vmtest.Start(ctx, d.config); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, d.vm.Kill()) }()
	silence := d.Within
	if d.cell.Death.halts {
		silence = halted
	}
	for {
		e, err := d.vm.Event(silence, "boot", "confirm", "hang", "ready")
		switch {
		case err != nil && d.cell.Death.halts && d.cycles < d.cell.Tries && ctx.Err() == nil:
			if err := d.cycle(ctx, true); err != nil {
				return s, err
			}
			continue
		case err != nil:
			return s, err
		}
		if e.Name == "boot" && e.Values["trial"] == "true" {
			d.boots[e.Values["boot"]] = true
		}
		switch {
		case e.Name == "ready":
			return d.look(e)
		case e.Name == "hang" && d.cell.Death.how == "hang-early":
			if _, err := d.vm.Event(rests, "boot", "hang", "ready"); err == nil {
				return s, errors.New("a machine without a watchdog was reset by itself")
			}
			err = d.cycle(ctx, true)
		case e.Name == d.cell.Death.cut && d.boots[e.Values["boot"]] && !d.cut || e.Name == "confirm" && !d.cut:
			d.cut = true
			if e.Name == "confirm" {
				time.Sleep(moment) // where in the confirmation it hits is left to chance
			}
			err = d.cycle(ctx, false)
		}
		if err != nil {
			return s, err
		}
	}
}

// halted is how long a machine that may have halted is waited for.
const halted = 90 * time.Second

// cycle cuts the power and switches the machine on again; byHand where nothing else would have helped.
func (d *dying) cycle(ctx context.Context, byHand bool) (err error) {
	d.count()
	if err := d.vm.Kill(); err != nil {
		return err
	}
	if byHand {
		d.cycles++
	}
	d.vm, err = vmtest.Start(ctx, d.config)
	return err
}

// count counts what GRUB said since the machine was switched on.
func (d *dying) count() {
	for _, l := range d.vm.Lines() {
		if strings.Contains(l.Text, "Pawl: slot B") && !strings.Contains(l.Text, "does not load") {
			d.starts++
		}
	}
}

// look asks the guest what it knows.
func (d *dying) look(ready vmtest.Event) (s seen, err error) {
	d.count()
	v := ready.Values
	s.slot, s.version, s.digest, s.cycles = v["slot"], v["version"], v["digest"], d.cycles
	if s.trials = len(d.boots); grub(d.cell) {
		s.trials = d.starts
	}
	if v["slot"] != v["default"] {
		return s, fmt.Errorf("slot %s has settled, the default is %s", v["slot"], v["default"])
	}
	late := d.cell.Death.cut == "confirm" && d.cut // the confirmation may have been whole by then
	if d.boots[v["boot"]] != (s.slot == "B") && !(late && s.slot == "B") {
		return s, fmt.Errorf("boot %s of slot %s: trials were %v", v["boot"], s.slot, d.boots)
	}
	out, err := d.vm.Must("run installer status --output json", d.Within)
	if err != nil {
		return s, err
	}
	var status struct {
		Attempt struct {
			Result, Reason string
			Crash          struct{ Log string }
		}
		KnownBad []struct{ Image string }
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	a := status.Attempt
	s.result, s.reason, s.log = a.Result, a.Reason, a.Crash.Log
	for _, b := range status.KnownBad {
		s.bad = s.bad || b.Image == d.of(d.cell.Loader).Digests["2.0.0"]
	}
	left, err := d.vm.Must("ls /sys/fs/pstore", d.Within)
	if err == nil && strings.TrimSpace(left) != "" {
		err = fmt.Errorf("records of the kernel are left: %s", left)
	}
	return s, err
}
