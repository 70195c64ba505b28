// Package doctor says what the next boots of a machine will start and why, what is redundant, and what is broken.
//
// Start with [Diagnose]. It only reads. What a finding says to do names no command: where one does it, [Finding.Remedy]
// says which kind, and the commands have their own words for it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/internal/foretell"
	"github.com/pawl-os/pawl/upgrade/mirror"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Severity is how bad a finding is.
type Severity string

// Severities, from good to bad.
const (
	Fine Severity = "fine" // as it should be, or only worth knowing
	// the machine boots as it should; a second copy is lost, or an upgrade would be refused
	Degraded Severity = "degraded"
	// one of the next boots does not end in a complete slot, or the machine cannot be worked on
	Broken Severity = "broken"
)

// Finding is one thing that was looked at.
type Finding struct {
	Severity Severity
	// "partition table", "boot file system", "second boot file system", "META", "slot A", "loader", "firmware",
	// "attempt", "boots", "machine"
	About string
	Text  string // a sentence
	Do    string // what to do about it; empty where nothing is to be done
	// Remedy is what does it, where Pawl has a command for that; else empty.
	Remedy Remedy
}

// Remedy is a kind of way out that Pawl has itself.
type Remedy string

// Remedies.
const (
	RepairTable   Remedy = "repair table"   // the partition table, from its sound copy
	ResetMeta     Remedy = "reset META"     // an empty META
	Repair        Remedy = "repair"         // upgrade.Machine.Repair
	ReplaceLoader Remedy = "replace loader" // upgrade.Machine.ReplaceLoader
	ForceLoader   Remedy = "force loader"   // that, by force
	Disarm        Remedy = "disarm"         // a rollback, which takes back what is armed
	Decide        Remedy = "decide"         // a person's confirm or rollback
)

// Diagnosis is what can be known of a machine without starting or changing anything.
type Diagnosis struct {
	Status   report.Status     // the zero value where the machine could not be opened
	Boots    []predict.Outcome // the next three, in order; none where they cannot be predicted
	Assumes  []string          // what the prediction takes for granted, one sentence each
	Findings []Finding
}

// Severity is that of the worst finding.
func (d Diagnosis) Severity() Severity {
	worst := Fine
	for _, f := range d.Findings {
		if f.Severity == Broken || f.Severity == Degraded && worst == Fine {
			worst = f.Severity
		}
	}
	return worst
}

// Diagnose says what the next boots of the machine on disk will start and why, what is redundant, and what is broken.
// disk is a block device, or a file that holds a disk image. Nothing is written or locked, so it works beside a running
// operation; what it then says may be of a moment between two steps.
//
// Damage is a finding. An error means that the disk or the variables cannot be read at all.
func Diagnose(ctx context.Context, disk string, o upgrade.OpenOptions) (Diagnosis, error) {
	o.ReadOnly = true
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: true, Partitions: true})
	if err != nil {
		return Diagnosis{}, err
	}
	var parts []io.Closer
	found, err := diagnose(ctx, d, func(role partition.Role) (device.Device, error) {
		p, err := d.Partition(o.Labels.Of(role))
		if err == nil {
			parts = append(parts, p)
		}
		return p, err
	}, func() (*upgrade.Machine, error) { return upgrade.Open(disk, o) }, o, func() (mirror.Elsewhere, error) {
		return mirror.Around(disk)
	})
	if err != nil {
		err = fmt.Errorf("diagnose %s: %w", disk, err)
	}
	for _, p := range parts {
		err = errors.Join(err, p.Close())
	}
	return found, errors.Join(err, d.Close())
}

// DiagnoseDevice is [Diagnose] for a disk that is a device already, and that stays the caller's. On the others a second
// boot file system is looked for.
func DiagnoseDevice(
	ctx context.Context, dev device.Device, o upgrade.OpenOptions, others ...device.Device,
) (Diagnosis, error) {
	o.ReadOnly = true
	d, err := diagnose(ctx, dev, func(role partition.Role) (device.Device, error) {
		layout, err := partition.Read(dev)
		if err != nil {
			return nil, err
		}
		p, err := o.Labels.Find(layout, role)
		if err != nil {
			return nil, err
		}
		return partition.Section(dev, p), nil
	}, func() (*upgrade.Machine, error) { return upgrade.OpenDevice(dev, o) }, o, func() (mirror.Elsewhere, error) {
		return mirror.Elsewhere{Devices: others}, nil
	})
	if err != nil {
		return d, fmt.Errorf("diagnose: %w", err)
	}
	return d, nil
}

// opener opens the partition of a role.
type opener func(partition.Role) (device.Device, error)

func diagnose(
	ctx context.Context, dev device.Device, part opener, open func() (*upgrade.Machine, error), o upgrade.OpenOptions,
	elsewhere func() (mirror.Elsewhere, error),
) (found Diagnosis, err error) {
	if err := o.Check(); err != nil {
		return found, err
	}
	if o.Vars == nil {
		o.Vars = efivar.Open(efivar.Dir)
	}
	vars, err := predict.Variables(o.Vars)
	if err != nil {
		return found, err
	}
	d := &Diagnosis{}
	disk := d.table(dev, part, o.Labels)
	readable := d.meta(part)
	m, err := open()
	if err != nil {
		d.add(Broken, "machine", "mend what it names, or install again", "The machine cannot be worked on: %v.", err)
	} else {
		defer func() { err = errors.Join(err, m.Close()) }()
		if err := d.slots(ctx, m, readable); err != nil {
			return *d, err
		}
		d.bootFiles(m)
		d.mirror(m, elsewhere)
		d.attempts()
	}
	d.boots(disk, vars, m)
	if m != nil {
		if err := d.rehearse(ctx, m); err != nil {
			return *d, err
		}
	}
	return *d, nil
}

func (d *Diagnosis) add(s Severity, about, do, format string, args ...any) {
	d.Findings = append(d.Findings, Finding{Severity: s, About: about, Text: fmt.Sprintf(format, args...), Do: do})
}

// by says what Pawl has for what was added last.
func (d *Diagnosis) by(r Remedy) { d.Findings[len(d.Findings)-1].Remedy = r }

// boots predicts, and judges what comes of it. m is nil where the machine could not be opened.
func (d *Diagnosis) boots(disk device.Device, vars *efivar.Memory, m *upgrade.Machine) {
	o, err := foretell.Firmware(disk, vars), error(nil)
	if m != nil {
		o, err = foretell.Modelled(m.Backend(), disk, vars)
	}
	if !o.BIOS && o.Model == nil {
		d.order(disk, vars, o)
	}
	var boots []predict.Outcome
	if err == nil {
		boots, err = predict.Next(disk, vars, 3, o)
	}
	d.Boots = boots
	if err != nil {
		d.add(Degraded, "boots", "start it once and see", "What boots next is not known: %v.", err)
	}
	d.assume(vars, o)
	good := err == nil
	for i, b := range boots {
		if i > 0 && sameBoot(b, boots[i-1]) {
			continue
		}
		if problem, do := d.judge(b); problem != "" {
			good = false
			d.add(Broken, "boots", do, "Boot %d: %s.", i+1, problem)
		}
	}
	if st := d.Status.Loader; good && st.Default != bootloader.None {
		at := slices.IndexFunc(boots, func(b predict.Outcome) bool { return !b.Trial })
		if at >= 0 && boots[at].Slot != st.Default {
			good = false
			d.add(Degraded, "boots", "report this, with the disk",
				"The loader's state says that slot %v is the default, and the prediction is that slot %v boots by "+
					"itself.", st.Default, boots[at].Slot)
		}
	}
	if err == nil {
		d.either(disk, m, o)
	}
	if good && d.Status.Slots[0].Slot != bootloader.None { // else nobody has looked at them
		d.add(Fine, "boots", "", "Each of the next %d boots ends in a complete slot.", len(boots))
	}
}

func sameBoot(a, b predict.Outcome) bool {
	return a.Stuck == b.Stuck && a.Path == b.Path && a.Digest == b.Digest && a.Initrd == b.Initrd
}

// judge is what is wrong with a boot, and what to do; empty when nothing is.
func (d *Diagnosis) judge(b predict.Outcome) (problem, do string) {
	const mend = "mend it before the machine restarts: an upgrade writes a complete slot; if none can be armed, " +
		"install again"
	switch {
	case b.Stuck != "":
		return "nothing runs: " + b.Stuck, mend
	case b.Slot == bootloader.None:
		return b.Path + " starts, which is no slot of this machine",
			"take what starts it out of the way, see why it does"
	}
	for _, s := range d.Status.Slots {
		if s.Slot != b.Slot {
			continue
		}
		if s.Content != report.Complete {
			return fmt.Sprintf("slot %v starts, and it is %s: %s", b.Slot, s.Content, s.Problem), mend
		}
		if err := foretell.Matches(b, s.Manifest); err != nil {
			return fmt.Sprintf("slot %v starts, and %v", b.Slot, err), mend
		}
	}
	return "", ""
}

// unsure are the files whose signatures boots take to be good, with the reasons.
func unsure(boots []predict.Outcome) (all []string) {
	for _, b := range boots {
		for _, text := range b.Unsure {
			if !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// assume says what the prediction does not know.
func (d *Diagnosis) assume(vars *efivar.Memory, o predict.Options) {
	note := func(format string, args ...any) { d.Assumes = append(d.Assumes, fmt.Sprintf(format, args...)) }
	st, a := d.Status.Loader, d.Status.Attempt
	at := slices.IndexFunc(d.Boots, func(b predict.Outcome) bool { return b.Trial })
	switch {
	case st.Trial():
		note("Nobody confirms slot %v, which runs on trial, before the next boot.", st.Active)
	case at >= 0 && at+1 < len(d.Boots):
		note("Nobody confirms slot %v during its trial.", d.Boots[at].Slot)
	}
	if st.Again && st.Armed != bootloader.None && st.Tries > 1 {
		note("Slot %v does not come so far that it arms itself for the next of its %d tries.", st.Armed, st.Tries)
	}
	if a != nil && a.State == attempt.Staged {
		note("Version %s is staged and is not armed: really, the next boot arms it and restarts into its trial.",
			a.Version)
	}
	for _, text := range unsure(d.Boots) {
		note("Its signature is taken to be good: %s.", text)
	}
	if len(vars.Values()) == 0 && !o.BIOS {
		note("The firmware holds no variables, as on a machine that was never started.")
	}
}
