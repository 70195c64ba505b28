package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade/attempt"
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
	// "partition table", "boot file system", "META", "slot A", "loader", "firmware", "attempt", "boots", "machine"
	About string
	Text  string // a sentence
	Do    string // what to do about it; empty where nothing is to be done
}

// Diagnosis is what can be known of a machine without starting or changing anything.
type Diagnosis struct {
	Status   Status            // the zero value where the machine could not be opened
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
func Diagnose(ctx context.Context, disk string, o OpenOptions) (Diagnosis, error) {
	o.ReadOnly = true
	if len(o.Loaders) == 0 {
		return Diagnosis{}, fmt.Errorf("diagnose %s: %w", disk, errNoLoaders)
	}
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: true, Partitions: true})
	if err != nil {
		return Diagnosis{}, err
	}
	opened := opening{disk: d, labels: o.Labels}
	found, err := diagnose(ctx, d, opened.part, o)
	if err != nil {
		err = fmt.Errorf("diagnose %s: %w", disk, err)
	}
	return found, errors.Join(err, opened.close())
}

// DiagnoseDevice is Diagnose for a disk that is a device already, and that stays the caller's.
func DiagnoseDevice(ctx context.Context, dev Device, o OpenOptions) (Diagnosis, error) {
	o.ReadOnly = true
	if len(o.Loaders) == 0 {
		return Diagnosis{}, fmt.Errorf("diagnose: %w", errNoLoaders)
	}
	d, err := diagnose(ctx, dev, sections(dev, o.Labels), o)
	if err != nil {
		return d, fmt.Errorf("diagnose: %w", err)
	}
	return d, nil
}

func diagnose(ctx context.Context, dev Device, part opener, o OpenOptions) (Diagnosis, error) {
	if err := o.Labels.Check(); err != nil {
		return Diagnosis{}, err
	}
	if o.Vars == nil {
		o.Vars = efivar.Open(efivar.Dir)
	}
	vars, err := predict.Variables(o.Vars)
	if err != nil {
		return Diagnosis{}, err
	}
	d := &Diagnosis{}
	disk := d.table(dev, part, o.Labels)
	d.meta(part)
	m, err := machine(dev, part, o)
	if err != nil {
		d.add(Broken, "machine", "mend what it names, or install again", "The machine cannot be worked on: %v.", err)
	} else {
		if err := d.slots(ctx, m); err != nil {
			return *d, err
		}
		d.bootFiles(m)
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
	d.Findings = append(d.Findings, Finding{s, about, fmt.Sprintf(format, args...), do})
}

// boots predicts, and judges what comes of it. m is nil where the machine could not be opened.
func (d *Diagnosis) boots(disk Device, vars *efivar.Memory, m *Machine) {
	o, err := firmware(disk, vars), error(nil)
	if m != nil {
		o, err = m.modelled(o)
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
		if s.Content != Complete {
			return fmt.Sprintf("slot %v starts, and it is %s: %s", b.Slot, s.Content, s.Problem), mend
		}
		if err := matches(b, s.Manifest); err != nil {
			return fmt.Sprintf("slot %v starts, and %v", b.Slot, err), mend
		}
	}
	return "", ""
}

// matches holds what a boot loads against the manifest of its slot.
func matches(b predict.Outcome, m bootloader.Manifest) error {
	want := map[string]string{}
	for _, f := range m.Files {
		want[f.Name] = f.SHA256
	}
	name := b.Path[len(b.Slot.Dir())+1:]
	if b.Digest != want[name] {
		return fmt.Errorf("its %s is not what its manifest says", name)
	}
	if b.Initrd != "" && b.Initrd != want[bootloader.InitrdFile] {
		return fmt.Errorf("its %s is not what its manifest says", bootloader.InitrdFile)
	}
	return nil
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
	if a != nil && a.Phase == attempt.Staged {
		note("Version %s is staged and is not armed: really, the next boot arms it and restarts into its trial.",
			a.Version)
	}
	if secureBoot(vars) {
		note("Secure Boot is on: what a shim or GRUB loads is taken to be signed, and so is everything where the " +
			"firmware does not say who may sign.")
	}
	if len(vars.Values()) == 0 && !o.BIOS {
		note("The firmware holds no variables, as on a machine that was never started.")
	}
}

// secureBoot reports whether the firmware checks signatures, or may: what cannot be read does not say that it does not.
func secureBoot(vars *efivar.Memory) bool {
	v, err := vars.Read(efivar.Global("SecureBoot"))
	return err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && !(len(v.Data) == 1 && v.Data[0] == 0)
}

// firmware is the kind of machine that a disk and its variables belong to.
func firmware(disk Device, vars *efivar.Memory) predict.Options {
	o := predict.Made(disk)
	if o.BIOS && len(vars.Values()) > 0 {
		return predict.Options{} // its loader is lost
	}
	return o
}
