package sdboot

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// active finds the slot that this boot runs. None is for certain: something else runs. Where the sources contradict
// each other it is ErrAmbiguous. direct says that the firmware started the slot's UKI without the loader.
func (l *Loader) active(d *disk) (s bootloader.Slot, direct bool, err error) {
	if l.Idle {
		return bootloader.None, false, nil
	}
	said, _, err := cmdline.One(l.Cmdline, cmdline.Boot)
	if err != nil {
		return bootloader.None, false, fmt.Errorf("%w: %w", err, bootloader.ErrAmbiguous)
	}
	if said != "" && !strings.EqualFold(said, l.Partition.GUID.String()) {
		d.warn("This boot was started from partition %s, and not from this disk's.", short(said))
		return bootloader.None, false, nil
	}
	if s, err := slotFromCmdline(l.Cmdline); err != nil || s != bootloader.None {
		return s, false, err
	}
	selected, isSelected, err1 := l.text(entrySelected)
	uuid, hasUUID, err2 := l.startedFrom()
	started, hasImage, err3 := l.text(imageIdentifier)
	if isSelected && err1 == nil {
		err3 = nil // it would only contradict
	}
	if err := cmp.Or(err1, err2, err3); err != nil {
		d.block(fmt.Errorf("which slot runs is not known: %w (restart, and look at that variable): %w", err,
			bootloader.ErrAmbiguous))
		d.warn("Which slot runs is not known: %v.", err)
		return bootloader.None, false, nil
	}
	image := slotOfPath(started)
	switch here := strings.EqualFold(uuid, l.Partition.GUID.String()); {
	case !isSelected && !hasUUID && !hasImage:
		return bootloader.None, false, nil // started by something that tells nothing; also a machine without variables
	case !hasUUID:
		return bootloader.None, false, fmt.Errorf("the loader does not say which partition it was started from: %w",
			bootloader.ErrAmbiguous)
	case !here:
		d.warn("This boot was started from partition %s, and not from this disk's.", short(uuid))
		return bootloader.None, false, nil
	case !isSelected && image == bootloader.None:
		d.warn("This boot was started from %s, which is no slot.", short(started))
		return bootloader.None, false, nil
	case !isSelected:
		// The firmware started the slot's own image.
		return image, true, l.agree(image)
	case image != bootloader.None:
		return bootloader.None, false, fmt.Errorf("%s is %s, but the firmware started %s: %w", entrySelected,
			short(selected), short(started), bootloader.ErrAmbiguous)
	}
	s = slotOf(selected)
	if s == bootloader.None {
		d.warn("This boot was started from entry %s, which is no slot.", short(selected))
	}
	return s, false, nil
}

// agree checks an image that the firmware started against BootCurrent.
func (l *Loader) agree(s bootloader.Slot) error {
	n, set, err := l.current()
	if err != nil || !set {
		return nil // it contradicts nothing
	}
	o, err := l.option(n)
	if err != nil {
		return nil // gone or not readable: it contradicts nothing
	}
	drive, path, _, ok := o.Target()
	here := drive == efivar.HardDrive{} || drive.GUID == l.Partition.GUID // without one, firmware has looked on all
	if !ok || here && slotOfPath(path) == s {
		return nil
	}
	return fmt.Errorf("%s names slot %v, but BootCurrent is %s: %w", imageIdentifier, s, l.describe(n),
		bootloader.ErrAmbiguous)
}

// slotOfPath is the slot whose own image a path of the firmware names.
func slotOfPath(path string) bootloader.Slot {
	for _, s := range bootloader.Slots() {
		if strings.EqualFold(cleanPath(path), s.File(bootloader.UKIFile)) {
			return s
		}
	}
	return bootloader.None
}

// ukiPath is the inverse: the slot's image as the firmware spells it.
func ukiPath(s bootloader.Slot) string {
	return "\\" + strings.ReplaceAll(s.File(bootloader.UKIFile), "/", "\\")
}

// slotFromCmdline is the slot that the kernel command line names; None when it names none.
func slotFromCmdline(line string) (bootloader.Slot, error) {
	name, set, err := cmdline.One(line, cmdline.Slot)
	if err != nil {
		return bootloader.None, fmt.Errorf("%w: %w", err, bootloader.ErrAmbiguous)
	}
	if !set {
		return bootloader.None, nil
	}
	s, err := bootloader.ParseSlot(name)
	if err != nil {
		return bootloader.None, fmt.Errorf("kernel argument %s=%s: %w: %w", cmdline.Slot, name, err,
			bootloader.ErrAmbiguous)
	}
	return s, nil
}
