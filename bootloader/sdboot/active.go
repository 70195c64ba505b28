package sdboot

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
)

// active finds the slot that this boot runs. None is for certain: something else runs. Where the sources contradict each
// other it is ErrAmbiguous. direct says that the firmware started the slot's UKI without the loader.
func (l *Loader) active(st *bootloader.State) (s bootloader.Slot, direct bool, err error) {
	uuid, _, err := cmdline.One(l.Cmdline, bootArgument)
	if err != nil {
		return bootloader.None, false, fmt.Errorf("%w: %w", err, bootloader.ErrAmbiguous)
	}
	if uuid != "" && !strings.EqualFold(uuid, l.Partition.GUID.String()) {
		st.Warnings = append(st.Warnings, fmt.Sprintf("This boot was started from partition %s, and not from this disk's.", uuid))
		return bootloader.None, false, nil
	}
	if s, err := slotFromCmdline(l.Cmdline); err != nil || s != bootloader.None {
		return s, false, err
	}
	selected, isSelected, err := l.text(entrySelected)
	if err != nil {
		return bootloader.None, false, err
	}
	uuid, hasUUID, err := l.text(devicePartUUID)
	if err != nil {
		return bootloader.None, false, err
	}
	started, hasImage, err := l.text(imageIdentifier)
	if err != nil {
		return bootloader.None, false, err
	}
	image := slotOfPath(started)
	switch here := strings.EqualFold(uuid, l.Partition.GUID.String()); {
	case !isSelected && !hasUUID && !hasImage:
		return bootloader.None, false, nil // started by something that tells nothing; also a machine without variables
	case !hasUUID:
		return bootloader.None, false, fmt.Errorf("the loader does not say which partition it was started from: %w", bootloader.ErrAmbiguous)
	case !here:
		st.Warnings = append(st.Warnings, fmt.Sprintf("This boot was started from partition %s, and not from this disk's.", uuid))
		return bootloader.None, false, nil
	case !isSelected && image == bootloader.None:
		st.Warnings = append(st.Warnings, fmt.Sprintf("This boot was started from %s, which is no slot.", started))
		return bootloader.None, false, nil
	case !isSelected:
		// The firmware started the slot's own image.
		return image, true, l.agree(image)
	case image != bootloader.None:
		return bootloader.None, false, fmt.Errorf("%s is %q, but the firmware started %s: %w", entrySelected, selected, started, bootloader.ErrAmbiguous)
	}
	s = slotOf(selected)
	if s == bootloader.None {
		st.Warnings = append(st.Warnings, fmt.Sprintf("This boot was started from entry %q, which is no slot.", selected))
	}
	return s, false, nil
}

// agree checks an image that the firmware started against BootCurrent.
func (l *Loader) agree(s bootloader.Slot) error {
	n, set, err := l.current()
	if err != nil || !set {
		return err
	}
	o, err := l.option(n)
	if err != nil {
		return nil // gone or not readable: it contradicts nothing
	}
	drive, path, ok := o.File()
	if !ok || drive.GUID == l.Partition.GUID && slotOfPath(path) == s {
		return nil
	}
	return fmt.Errorf("%s names slot %v, but BootCurrent is %s: %w", imageIdentifier, s, l.describe(n), bootloader.ErrAmbiguous)
}

// slotOfPath is the slot whose own image a path of the firmware names.
func slotOfPath(path string) bootloader.Slot {
	path = strings.TrimPrefix(strings.ReplaceAll(path, "\\", "/"), "/")
	for _, s := range bootloader.Slots {
		if strings.EqualFold(path, s.File(bootloader.UKIFile)) {
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
	name, set, err := cmdline.One(line, slotArgument)
	if err != nil {
		return bootloader.None, fmt.Errorf("%w: %w", err, bootloader.ErrAmbiguous)
	}
	if !set {
		return bootloader.None, nil
	}
	s, err := bootloader.ParseSlot(name)
	if err != nil {
		return bootloader.None, fmt.Errorf("kernel argument %s=%s: %w: %w", slotArgument, name, err, bootloader.ErrAmbiguous)
	}
	return s, nil
}
