package grub

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// disk is everything that was read for one operation.
type disk struct {
	state    bootloader.State
	copies   [2]standing
	trial    trial
	fixed    bootloader.Slot // what grub.cfg takes for the default, bootable or not; None on a fresh disk
	fresh    bool            // an install that was not confirmed yet
	bootable map[bootloader.Slot]bool
}

// newest is the copy of the default that counts, -1 when both are destroyed. It follows grub.cfg.
func (d *disk) newest() int {
	switch a, b := d.copies[0], d.copies[1]; {
	case b.valid && (!a.valid || b.serial > a.serial):
		return 1
	case a.valid:
		return 0
	}
	return -1
}

// named is the slot that the newest copy names.
func (d *disk) named() bootloader.Slot {
	if n := d.newest(); n >= 0 {
		return d.copies[n].slot
	}
	return bootloader.None
}

// read reads the boot file system, the command line and BootNext. It writes nothing.
func (l *Loader) read() (disk, error) {
	d := disk{bootable: map[bootloader.Slot]bool{}}
	d.state.Loader = "GRUB"
	config, err := l.file(configPath)
	if err != nil {
		return disk{}, err
	}
	if !strings.HasPrefix(string(config), formatLine) {
		return disk{}, fmt.Errorf("%s is not Pawl's: %w", configPath, bootloader.ErrNotFound)
	}
	for i := range d.copies {
		data, err := l.block(defaultPath(i), &d)
		if err != nil {
			return disk{}, err
		}
		if d.copies[i] = decodeStanding(i, data); !d.copies[i].valid {
			d.warn("%s is damaged; the other copy decides, and confirm writes it anew.", defaultPath(i))
		}
	}
	data, err := l.block(trialPath, &d)
	if err != nil {
		return disk{}, err
	}
	if d.trial = decodeTrial(data); !d.trial.valid {
		d.warn("%s is damaged, so nothing is armed.", trialPath)
	}
	for _, s := range bootloader.Slots() {
		if err := l.readSlot(s, &d); err != nil {
			return disk{}, err
		}
	}
	l.readDefault(&d)
	said, err := parseReport(l.Cmdline)
	if err != nil {
		return disk{}, err
	}
	if said.boot != "" && !strings.EqualFold(said.boot, l.Partition.GUID.String()) {
		d.warn("This boot was started from partition %s, and not from this disk's.", said.boot)
		said = report{}
	}
	d.state.Active = said.slot
	if d.trial.slot != bootloader.None && d.trial.tries > 0 && d.trial.slot == d.fixed.Other() {
		if d.bootable[d.trial.slot] {
			d.state.Armed, d.state.Tries = d.trial.slot, d.trial.tries
		} else {
			d.warn("%s names slot %v, which is not bootable; GRUB will not try it.", trialPath, d.trial.slot)
		}
	}
	d.state.Failed = said.reason()
	d.state.Blocked, err = l.blocked(said, &d)
	return d, err
}

// file reads one of GRUB's files; without it there is no GRUB of ours.
func (l *Loader) file(path string) ([]byte, error) {
	data, err := l.FS.ReadFile(path)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", path, bootloader.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// block reads one sector's file. A cut may have left it unreadable, which is one way of being destroyed; writing it
// mends that.
func (l *Loader) block(path string, d *disk) ([]byte, error) {
	info, err := l.FS.Stat(path)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", path, bootloader.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Size != blockSize {
		return nil, fmt.Errorf("%s has %d bytes, want %d; it was edited, install GRUB's files again", path, info.Size,
			blockSize)
	}
	data, err := l.FS.ReadFile(path)
	if err != nil {
		// once more: written anew, trial.env would lose what GRUB left in it in this boot
		data, err = l.FS.ReadFile(path)
	}
	if err != nil {
		d.warn("%s cannot be read: %v.", path, err)
		return nil, nil
	}
	return data, nil
}

// readSlot finds out whether grub.cfg would start a slot.
func (l *Loader) readSlot(s bootloader.Slot, d *disk) error {
	data, err := l.block(switchPath(s), d)
	if err != nil {
		return err
	}
	switch on, damaged := decodeSwitch(s, data); {
	case !on && damaged:
		d.warn("%s is damaged; slot %v is not bootable.", switchPath(s), s)
		return nil
	case !on:
		return nil
	case damaged:
		d.warn("%s is damaged, and GRUB passes that over; the next upgrade of slot %v writes it anew.", switchPath(s),
			s)
	}
	for _, path := range []string{s.File(bootloader.KernelFile), s.File(bootloader.InitrdFile), argsPath(s)} {
		info, err := l.FS.Stat(path)
		if err != nil && !missing(err) {
			return err
		}
		if err != nil || info.Size == 0 {
			d.warn("slot %v is to be bootable, but %s is not there.", s, path)
			return nil
		}
	}
	d.bootable[s] = true
	d.state.Bootable = append(d.state.Bootable, s)
	return nil
}

// readDefault finds the slot that boots when nothing is armed, as grub.cfg does.
func (l *Loader) readDefault(d *disk) {
	named := d.named()
	if d.newest() < 0 {
		named = bootloader.A
		if d.trial.slot == bootloader.A {
			named = bootloader.B
		}
		d.warn("Both copies of the default are damaged; slot %v boots, because it was not on trial. Confirm the "+
			"running slot.", named)
	} else if named == bootloader.None {
		d.fresh = true
		return
	}
	d.fixed = named
	switch {
	case d.bootable[named]:
		d.state.Default = named
	case d.bootable[named.Other()]:
		d.state.Default = named.Other()
		d.warn("The default, slot %v, is not bootable; slot %v boots in its place.", named, named.Other())
	}
}

// reason says in words why a slot that GRUB was asked for does not run.
func (r report) reason() string {
	switch {
	case r.failed == bootloader.None || r.failed == r.slot:
		return ""
	case r.why == "missing":
		return fmt.Sprintf("GRUB did not find all files of slot %v, or it was not to be booted", r.failed)
	case r.why == "count":
		return fmt.Sprintf("GRUB did not try slot %v, because it could not write the count of tries to %s", r.failed,
			trialPath)
	}
	return ""
}

// blocked is everything for which Arm would be refused.
func (l *Loader) blocked(said report, d *disk) (blocked, err error) {
	if err := l.foreign(); err != nil {
		return err, nil // also where it cannot be read: only an arming needs it
	}
	switch {
	case said.slot == bootloader.None:
		return nil, nil // nothing of ours runs; the caller knows from Active
	case said.canary == "":
		return fmt.Errorf("this boot did not come through GRUB, so it is not known whether GRUB can count trials; "+
			"reboot once: %w", ErrNotCounted), nil
	case said.canary == "damaged":
		d.warn("%s was damaged when this boot began, so it is not known whether GRUB can write it.", trialPath)
		return nil, nil
	case said.canary == "failed":
		return fmt.Errorf("it could not write %s in this boot: %w", trialPath, ErrNotCounted), nil
	case d.trial.valid && said.canary != d.trial.canary:
		return fmt.Errorf("what it wrote to %s in this boot is not on the disk: %w", trialPath, ErrNotCounted), nil
	}
	return nil, nil
}

// foreign is ErrForeign when the firmware was told to start something else next. A copy of GRUB is nothing else.
func (l *Loader) foreign() error {
	next, err := l.vars.Read(efivar.Global("BootNext"))
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%x", next.Data[:min(len(next.Data), 64)])
	if n, err := efivar.DecodeNumber(next.Data); err == nil {
		what = efivar.Boot(n).Name
	}
	if copied, err := bootorder.NextIsCopy(l.vars, l.Partition); err != nil || copied {
		return err
	}
	return fmt.Errorf("BootNext is set to %s; boot once, or delete that variable (efibootmgr --delete-bootnext): %w",
		what, bootloader.ErrForeign)
}

func (d *disk) warn(format string, args ...any) {
	d.state.Warnings = append(d.state.Warnings, fmt.Sprintf(format, args...))
}
