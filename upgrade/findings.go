package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// mend says how a problem of a table is mended: by ourselves, where a repair on an overlay of the disk takes it away.
func mend(dev Device, l partition.Layout, problem string) string {
	const others = "another program for partitions; `installer disk repair` does not mend this"
	after, err := partition.Plan(&l, dev.Size(), dev.SectorSize(), nil)
	if err != nil {
		return fmt.Sprintf("%s (%v)", others, err)
	}
	over := predict.NewOverlay(dev)
	if err := partition.Apply(over, after); err != nil {
		return fmt.Sprintf("%s (%v)", others, err)
	}
	if left, err := partition.Read(over); err != nil || slices.Contains(left.Problems, problem) {
		return others
	}
	return "`installer disk repair`, while nothing of the disk is in use"
}

// table looks at the partition table, and returns the disk as a whole for the prediction: see join.
func (d *Diagnosis) table(dev Device, part opener, labels partition.Labels) Device {
	layout, err := partition.Read(dev)
	if err != nil {
		d.add(Broken, "partition table", "restore it, or install again", "%s.", upper(err.Error()))
		return dev
	}
	for _, p := range layout.Problems {
		d.add(Degraded, "partition table", mend(dev, layout, p), "%s.", upper(p))
	}
	if len(layout.Problems) == 0 {
		d.add(Fine, "partition table", "", "Both copies are whole and agree.")
	}
	boot, err := part(partition.EFI)
	if err != nil {
		return dev
	}
	return join(dev, layout, labels.Of(partition.EFI), boot)
}

// meta looks at both copies of META.
func (d *Diagnosis) meta(part opener) {
	p, err := part(partition.Meta)
	if err != nil {
		return // opening the machine says so
	}
	problems, err := meta.Check(p)
	switch {
	case err != nil:
		d.add(Degraded, "META", "`installer meta reset` makes it empty; what it recorded is lost",
			"%s. The machine boots, confirms and falls back without it.", upper(err.Error()))
	case len(problems) == 0:
		d.add(Fine, "META", "", "Both copies are whole and agree.")
	}
	for _, text := range problems {
		d.add(Degraded, "META", "the next operation that opens META writes it anew", "%s", text)
	}
}

// slots reads the state, and the files of each slot against its manifest.
func (d *Diagnosis) slots(ctx context.Context, m *Machine) error {
	st, err := m.Status()
	if err != nil {
		d.add(Broken, "loader", "no upgrade and no confirm works until this is mended", "%s.", upper(err.Error()))
		for i, s := range bootloader.Slots {
			st.Slots[i] = m.slot(s)
		}
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
		d.add(Degraded, "loader", "`installer confirm`, or the next upgrade, writes anew what is damaged; `installer "+
			"doctor --repair` removes variables and entries that it names", "%s", upper(w))
	}
	for _, w := range st.Warnings[len(l.Warnings):] {
		if m.metaErr == nil && !slices.Contains(m.Problems, w) && !slices.Contains(st.Own.warnings(),
			w) { // else it has been said
			d.add(Degraded, "META", "delete that value, or make META empty (`installer meta reset`)", "%s.", upper(w))
		}
	}
	switch {
	case l.Blocked != nil: // the rehearsal says so
	case len(l.Warnings) == 0:
		d.add(Fine, "loader", "", "%s: what it keeps on the disk is whole, and slot %v is the default.", l.Loader,
			l.Default)
	}
	if l.Failed != "" {
		d.add(Fine, "loader", "", "%s.", upper(l.Failed))
	}
	for _, w := range st.Own.warnings() {
		severity, do := Degraded, ""
		if w == st.Own.String() {
			severity, do = adviseLoader(st.Own.Left)
		}
		d.add(severity, "loader", do, "%s", w)
	}
	return nil
}

// adviseLoader says how bad it is that a loader is left, and what to do. What firmware would not start is never
// advised.
func adviseLoader(left error) (s Severity, do string) {
	switch {
	case errors.Is(left, bootloader.ErrNotOurs):
		return Fine, ""
	case errors.Is(left, bootloader.ErrMachine):
		return Degraded, "nothing to the machine; build the image with the loader for it"
	case errors.Is(left, bootloader.ErrRefused):
		return Degraded, "nothing to the machine, which starts by the installed one; what the message says, for the " +
			"next image"
	case left != nil:
		return Degraded, "what the message says; `installer loader --force` installs it all the same, which is not " +
			"safe in a power cut"
	}
	return Degraded, "`installer loader` installs it"
}

// slot hashes the files of one slot. Only a context that ends is an error.
func (d *Diagnosis) slot(ctx context.Context, m *Machine, s SlotStatus) error {
	about, st := fmt.Sprintf("slot %v", s.Slot), d.Status.Loader
	needed := s.Slot == st.Default || s.Slot == st.Active
	do := "the next upgrade writes it anew"
	severity := Degraded
	switch {
	case needed:
		severity, do = Broken, "do not restart; upgrade, so that a complete version is in the other slot, and "+
			"confirm it"
	case s.Slot == st.Armed:
		do = "`installer rollback` disarms it; then upgrade again"
	}
	switch {
	case s.Content == Empty && !needed:
		d.add(Fine, about, "", "It is empty; the next upgrade fills it. Until then there is no other version to go "+
			"back to.")
		return nil
	case s.Content != Complete:
		d.add(severity, about, do, "It is %s: %s.", s.Content, s.Problem)
		return nil
	}
	problems, err := m.damaged(ctx, s)
	if err != nil {
		return err
	}
	for _, p := range problems {
		d.add(severity, about, do, "Version %s is damaged: %s.", s.Manifest.Version, p)
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
func (d *Diagnosis) otherName(m *Machine, s SlotStatus, needed bool) {
	about, do := fmt.Sprintf("slot %v", s.Slot), "the next upgrade writes it anew"
	if needed {
		do = "upgrade with --force, to an image that states the version that the system in it has"
	}
	own, err := m.ownVersion(s.Slot)
	if err != nil {
		d.add(Degraded, about, do, "Which version its system calls itself is not known: %v.", err)
		return
	}
	severity := Degraded
	// a system that states none; where this runs may be another one, as a container is
	if own == "" && s.Slot == d.Status.Loader.Active {
		severity, own, do = Fine, m.Version, "see that --os-release is that of the running system; if so, "+do
	}
	if own != "" && s.Manifest.Named() && own != s.Manifest.Version {
		d.add(severity, about, do, "Its manifest says version %s, and its system calls itself %q: while it runs, "+
			"upgrade and confirm are refused.", s.Manifest.Version, own)
	}
}

// damaged reads the files of a slot and returns those that are not what its manifest says.
func (m *Machine) damaged(ctx context.Context, s SlotStatus) (problems []string, err error) {
	if m.DropCache != nil {
		if err := m.DropCache(); err != nil {
			return []string{fmt.Sprintf("cached pages cannot be dropped: %v", err)}, nil
		}
	}
	for _, f := range s.Manifest.Files {
		in, err := m.Boot.Open(s.Slot.File(f.Name))
		h := sha256.New()
		if err == nil {
			_, err = io.CopyBuffer(h, struct{ io.Reader }{&meter{ctx, in, func(int64) {}, 0}}, make([]byte, 1<<20))
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s cannot be read: %v", f.Name, err))
		case sum(h) != f.SHA256:
			problems = append(problems, fmt.Sprintf("%s has SHA-256 %s, its manifest says %s", f.Name, sum(h),
				f.SHA256))
		}
	}
	return problems, nil
}

// bootFiles looks at the boot file system as such.
func (d *Diagnosis) bootFiles(m *Machine) {
	problems, err := m.Boot.Check()
	if err != nil {
		d.add(Broken, "boot file system", "repair it (fsck.vfat), or install again", "%s.", upper(err.Error()))
		return
	}
	for _, p := range problems {
		d.add(Degraded, "boot file system",
			"what is in a slot goes away with the next upgrade of that slot; for the rest, fsck.vfat", "%s.",
			upper(p.String()))
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
		d.add(Degraded, "attempt", "keep it with `pawl confirm` (`installer confirm`), or go back with `pawl "+
			"rollback` (`installer rollback`)",
			"Slot %v runs and slot %v is the default, and no attempt ordered this boot: %s. It is not confirmed by "+
				"itself.", st.Active, st.Default, d.Status.Unordered)
	case st.Trial():
		d.add(Fine, "attempt", "confirm it, or restart to fall back", "Slot %v runs on trial; slot %v is the default.",
			st.Active, st.Default)
	}
	if a != nil {
		d.add(Fine, "attempt", "", "%s.", upper(a.String()))
	}
}

// rehearse plays an upgrade, of the system that the next boot starts where none of this disk runs.
func (d *Diagnosis) rehearse(ctx context.Context, m *Machine) error {
	st := d.Status.Loader
	if st.Trial() || st.Default == bootloader.None {
		return nil // it has been said
	}
	var err error
	if st.Active == bootloader.None {
		if m, err = m.booted(st.Default); m == nil || err != nil {
			return nil // the prediction of the boots has said so
		}
	}
	switch err = m.rehearseNext(ctx); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && d.Severity() == Broken: // it has been said that nothing starts
	case err == nil:
		d.add(Fine, "upgrade", "", "An upgrade was played on a copy of the disk: its trial, its confirmation and "+
			"each way back end as they must.")
	case errors.Is(err, errUnrehearsed) || errors.Is(err, predict.ErrNotModelled):
		d.Assumes = append(d.Assumes, fmt.Sprintf("An upgrade works: %v.", err))
	default:
		d.add(Degraded, "upgrade", "mend what it names", "An upgrade would be refused: %v.", err)
	}
	return nil
}

// booted is the machine in its next boot, played on copies.
func (m *Machine) booted(want bootloader.Slot) (*Machine, error) {
	s, err := m.stage(bootloader.Manifest{})
	if err != nil {
		return nil, err
	}
	if err := s.boots(want, false, 1); err != nil {
		return nil, err
	}
	return s.open(m.slot(want).Manifest.Version)
}

// order counts how often the firmware starts the loader.
func (d *Diagnosis) order(disk Device, vars *efivar.Memory, o predict.Options) {
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
		d.add(Degraded, "firmware", "`installer rollback` disarms it; then upgrade again",
			"A trial is armed, and BootOrder starts the loader %d times in a row: if slot %v does not load, %d are "+
				"needed to come back.", starts, st.Armed, need)
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

// upper makes the beginning of a sentence, unless that is a name as it is spelled.
func upper(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
