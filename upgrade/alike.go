package upgrade

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition"
)

// alike says of several partitions with one label which of them this machine was started from, and how the others get
// another.
func alike(err error, layout partition.Layout, role partition.Role, o OpenOptions) error {
	if role != partition.EFI {
		return fmt.Errorf("%w (give all but one a label of its own: sfdisk --part-label DISK NUMBER OTHER)", err)
	}
	guid, source := started(o)
	said := fmt.Sprintf("%s does not say which of them it used", source)
	other := "NUMBER"
	for _, p := range layout.Partitions {
		switch {
		case p.Label != o.Labels.Of(role):
		case guid != "" && strings.EqualFold(p.GUID.String(), guid):
			said = fmt.Sprintf("this machine was started from partition %d, as %s says", p.Number, source)
		default:
			other = fmt.Sprint(p.Number)
		}
	}
	if strings.HasPrefix(said, source) {
		other = "NUMBER" // any of them may be the one
	}
	return fmt.Errorf("%w; %s (give another one a label of its own: sfdisk --part-label DISK %s OTHER)", err, said,
		other)
}

// started is the GUID of the partition that this machine was started from, as far as it is known, and who says so: the
// loader, or else the firmware.
func started(o OpenOptions) (guid, source string) {
	line := ""
	if o.Cmdline != nil {
		line = *o.Cmdline
	} else if read, err := text(cmdlinePath); err == nil {
		line = read
	}
	if guid := bootPartition(line); guid != "" {
		return guid, "the kernel's command line"
	}
	vars := o.Vars
	if vars == nil {
		vars = efivar.Open(efivar.Dir)
	}
	if v, err := vars.Read(efivar.Loader(partVariable)); err == nil {
		if guid, err := efivar.DecodeString(v.Data); err == nil && guid != "" {
			return guid, partVariable
		}
	}
	v, err := vars.Read(efivar.Global("BootCurrent"))
	if err != nil {
		return "", "the firmware"
	}
	n, err := efivar.DecodeNumber(v.Data)
	if err != nil {
		return "", "the firmware"
	}
	if v, err = vars.Read(efivar.Boot(n)); err == nil {
		if option, err := efivar.DecodeLoadOption(v.Data); err == nil {
			if drive, _, _, ok := option.Target(); ok {
				return drive.GUID.String(), efivar.Boot(n).Name
			}
		}
	}
	return "", "the firmware"
}
