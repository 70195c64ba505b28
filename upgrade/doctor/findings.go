package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/internal/sentence"
	"github.com/pawl-os/pawl/upgrade/report"
)

// mend says how a problem of a table is mended: by ourselves, where a repair on an overlay of the disk takes it away.
func mend(dev device.Device, l partition.Layout, problem string) (do string, by Remedy) {
	const others = "another program for partitions; Pawl's own repair does not mend this"
	after, err := partition.Plan(&l, dev.Size(), dev.SectorSize(), nil)
	if err != nil {
		return fmt.Sprintf("%s (%v)", others, err), ""
	}
	over := predict.NewOverlay(dev)
	if err := partition.Apply(over, after); err != nil {
		return fmt.Sprintf("%s (%v)", others, err), ""
	}
	if left, err := partition.Read(over); err != nil || slices.Contains(left.Problems, problem) {
		return others, ""
	}
	return "repair it, while nothing of the disk is in use", RepairTable
}

// table looks at the partition table, and returns the disk as a whole for the prediction: see join.
func (d *Diagnosis) table(dev device.Device, part opener, labels partition.Labels) device.Device {
	layout, err := partition.Read(dev)
	if err != nil {
		d.add(Broken, "partition table", "restore it, or install again", "%s.", sentence.Upper(err.Error()))
		return dev
	}
	for _, p := range layout.Problems {
		do, by := mend(dev, layout, p)
		d.add(Degraded, "partition table", do, "%s.", sentence.Upper(p))
		d.by(by)
	}
	if len(layout.Problems) == 0 {
		d.add(Fine, "partition table", "", "Both copies are whole and agree.")
	}
	boot, err := part(partition.EFI)
	if err != nil {
		return dev
	}
	return partition.Join(dev, layout, labels.Of(partition.EFI), boot)
}

// meta looks at both copies of META, and reports whether it can be read as a whole.
func (d *Diagnosis) meta(part opener) bool {
	p, err := part(partition.Meta)
	if err != nil {
		return false // opening the machine says so
	}
	problems, err := meta.Check(p)
	switch {
	case err != nil:
		d.add(Degraded, "META", "make it empty; what it recorded is lost",
			"%s. The machine boots, confirms and falls back without it.", sentence.Upper(err.Error()))
		d.by(ResetMeta)
	case len(problems) == 0:
		d.add(Fine, "META", "", "Both copies are whole and agree.")
	}
	for _, text := range problems {
		d.add(Degraded, "META", "the next operation that opens META writes it anew", "%s", text)
	}
	return err == nil
}

// slots reads the state, and the files of each slot against its manifest. meta says that META can be read.
func (d *Diagnosis) slots(ctx context.Context, m *upgrade.Machine, meta bool) error {
	st, err := m.Status()
	if err != nil {
		d.add(Broken, "loader", "no upgrade and no confirm works until this is mended", "%s.",
			sentence.Upper(err.Error()))
	}
	d.Status = st
	for _, s := range st.Slots {
		if err := d.slot(ctx, m, s); err != nil {
			return err
		}
	}
	if err != nil {
		return nil
	}
	l := st.Loader
	for _, w := range l.Warnings {
		d.add(Degraded, "loader", "a confirm, or the next upgrade, writes anew what is damaged; a repair removes "+
			"variables and entries that it names", "%s", sentence.Upper(w))
		d.by(Repair)
	}
	if st.Unread != nil && meta { // else it has been said
		d.add(Degraded, "META", "delete that value, or make META empty", "%s.", sentence.Upper(st.Unread.Error()))
		d.by(ResetMeta)
	}
	switch {
	case l.Blocked != nil: // the rehearsal says so
	case len(l.Warnings) == 0:
		d.add(Fine, "loader", "", "%s: what it keeps on the disk is whole, and slot %v is the default.", l.Loader,
			l.Default)
	}
	if l.Failed != "" {
		d.add(Fine, "loader", "", "%s.", sentence.Upper(l.Failed))
	}
	d.ownLoader(st.Own)
	return nil
}

// ownLoader says how bad it is that the version's loader is not the one that is installed, and what to do. What
// firmware would not start is never advised.
func (d *Diagnosis) ownLoader(own report.Loader) {
	if !own.Settled() {
		severity, do, by := Degraded, "install it", ReplaceLoader
		switch left := own.Left; {
		case errors.Is(left, bootloader.ErrNotOurs):
			severity, do, by = Fine, "", ""
		case errors.Is(left, bootloader.ErrMachine):
			do, by = "nothing to the machine; build the image with the loader for it", ""
		case errors.Is(left, bootloader.ErrRefused), errors.Is(left, bootloader.ErrForbidden):
			do, by = "nothing to the machine, which starts by the installed one; what the message says, for the next "+
				"image", ""
		case left != nil:
			do, by = "what the message says; it can be installed by force, which is not safe in a power cut", ForceLoader
		}
		d.add(severity, "loader", do, "%s", own)
		d.by(by)
	}
	for _, note := range own.Notes {
		d.add(Degraded, "loader", "", "%s", note)
	}
}

// slot hashes the files of one slot. Only a context that ends is an error.
func (d *Diagnosis) slot(ctx context.Context, m *upgrade.Machine, s report.Slot) error {
	about, st := fmt.Sprintf("slot %v", s.Slot), d.Status.Loader
	needed := s.Slot == st.Default || s.Slot == st.Active
	do := "the next upgrade writes it anew"
	severity, by := Degraded, Remedy("")
	switch {
	case needed:
		severity, do = Broken, "do not restart; upgrade, so that a complete version is in the other slot, and "+
			"confirm it"
	case s.Slot == st.Armed:
		do, by = "disarm it; then upgrade again", Disarm
	}
	switch {
	case s.Content == report.Empty && !needed:
		d.add(Fine, about, "", "It is empty; the next upgrade fills it. Until then there is no other version to go "+
			"back to.")
		return nil
	case s.Content != report.Complete:
		d.add(severity, about, do, "It is %s: %s.", s.Content, s.Problem)
		d.by(by)
		return nil
	}
	problems, err := m.Damage(ctx, s)
	if err != nil {
		return err
	}
	for _, p := range problems {
		d.add(severity, about, do, "Version %s is damaged: %s.", s.Manifest.Version, p)
		d.by(by)
	}
	if len(problems) == 0 {
		d.add(Fine, about, "", "Version %s is complete: %d files read, and their digests match.", s.Manifest.Version,
			len(s.Manifest.Files))
	}
	d.otherName(m, s, needed)
	at := slices.IndexFunc(d.Status.KnownBad, func(b attempt.Bad) bool { return b.Image == s.Manifest.Image })
	if at >= 0 {
		bad := d.Status.KnownBad[at]
		d.add(Degraded, about, "upgrade to another version", "Version %s is known to be bad: %s.", s.Manifest.Version,
			bad.Reason)
	}
	return nil
}

// otherName tells of a slot whose system calls itself something else than its manifest does.
func (d *Diagnosis) otherName(m *upgrade.Machine, s report.Slot, needed bool) {
	about, do := fmt.Sprintf("slot %v", s.Slot), "the next upgrade writes it anew"
	if needed {
		do = "upgrade by force, to an image that states the version that the system in it has"
	}
	own, err := m.SystemVersion(s.Slot)
	if err != nil {
		d.add(Degraded, about, do, "Which version its system calls itself is not known: %v.", err)
		return
	}
	severity := Degraded
	// a system that states none; where this runs may be another one, as a container is
	if own == "" && s.Slot == d.Status.Loader.Active {
		severity, own, do = Fine, d.Status.Version, "see that the os-release that was read is that of the running "+
			"system; if so, "+do
	}
	if own != "" && s.Manifest.Named() && own != s.Manifest.Version {
		d.add(severity, about, do, "Its manifest says version %s, and its system calls itself %q: while it runs, "+
			"upgrade and confirm are refused.", s.Manifest.Version, own)
	}
}

// bootFiles looks at the boot file system as such.
func (d *Diagnosis) bootFiles(m *upgrade.Machine) {
	problems, err := m.CheckFiles()
	if err != nil {
		d.add(Broken, "boot file system", "repair it (fsck.vfat), or install again", "%s.", sentence.Upper(err.Error()))
		return
	}
	for _, p := range problems {
		d.add(Degraded, "boot file system",
			"what is in a slot goes away with the next upgrade of that slot; for the rest, fsck.vfat", "%s.",
			sentence.Upper(p.String()))
	}
	if len(problems) == 0 {
		d.add(Fine, "boot file system", "", "Both tables agree, and nothing is lost in it.")
	}
}

// attempts tells of the latest attempt, and of a trial that runs.
func (d *Diagnosis) attempts() {
	st, a := d.Status.Loader, d.Status.Attempt
	switch {
	case d.Status.Unordered != "":
		d.add(Degraded, "attempt", "confirm it to keep it, or go back by a rollback",
			"Slot %v runs and slot %v is the default, and no attempt ordered this boot: %s. It is not confirmed by "+
				"itself.", st.Active, st.Default, d.Status.Unordered)
		d.by(Decide)
	case st.Trial():
		d.add(Fine, "attempt", "confirm it, or restart to fall back", "Slot %v runs on trial; slot %v is the default.",
			st.Active, st.Default)
	}
	if a != nil {
		d.add(Fine, "attempt", "", "%s.", sentence.Upper(a.String()))
	}
}

// rehearse plays an upgrade, of the system that the next boot starts where none of this disk runs.
func (d *Diagnosis) rehearse(ctx context.Context, m *upgrade.Machine) error {
	st := d.Status.Loader
	if st.Trial() || st.Default == bootloader.None {
		return nil // it has been said
	}
	if st.Active == bootloader.None && (len(d.Boots) == 0 || d.Boots[0].Trial || d.Boots[0].Slot != st.Default) {
		return nil // the prediction of the boots has said so
	}
	switch err := m.Rehearse(ctx); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && d.Severity() == Broken: // it has been said that nothing starts
	case err == nil:
		d.add(Fine, "upgrade", "", "An upgrade was played on a copy of the disk: its trial, its confirmation and "+
			"each way back end as they must.")
	case errors.Is(err, predict.ErrNotModelled):
		d.Assumes = append(d.Assumes, fmt.Sprintf("An upgrade works: %v.", err))
	default:
		d.add(Degraded, "upgrade", "mend what it names", "An upgrade would be refused: %v.", err)
	}
	return nil
}

// order counts how often the firmware starts the loader.
func (d *Diagnosis) order(disk device.Device, vars *efivar.Memory, o predict.Options) {
	options, err := predict.Order(disk, vars, o)
	if err != nil {
		return // no table: it has been said
	}
	st := d.Status.Loader
	starts, need := predict.Starts(options), 1
	if st.ArmedBy != "" && st.ArmedBy != "BootNext" { // after which the firmware comes to BootOrder for the first time
		need = st.Tries + 1 // GRUB, which has one way, restarts the machine in place of going back to the firmware
	}
	switch {
	case st.Armed != bootloader.None && starts < need:
		d.add(Degraded, "firmware", "disarm it; then upgrade again",
			"A trial is armed, and BootOrder starts the loader %d times in a row: if slot %v does not load, %d are "+
				"needed to come back.", starts, st.Armed, need)
		d.by(Disarm)
	case starts == 0:
		d.add(Fine, "firmware", "", "BootOrder does not start the loader; the firmware finds it by its path. An "+
			"upgrade adds what a trial needs.")
	default:
		d.add(Fine, "firmware", "", "BootOrder starts the loader %d times in a row.", starts)
	}
	for _, option := range options {
		if option.Loader || option.Stays {
			break
		}
		if option.Path != "" && !errors.Is(st.Blocked, bootloader.ErrForeign) {
			d.add(Degraded, "firmware", "put it behind (efibootmgr --bootorder), or deactivate it",
				"%s starts %s before the loader.", option.Name, option.Path)
		}
	}
}
