package upgrade

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/kexec"
)

// Kernel is what slot s holds, to be started without the firmware, with the command line that the loader would give it and
// its slot named. It is read while the machine is open. A slot that is not complete is ErrNotComplete.
func (m *Machine) Kernel(s bootloader.Slot) (kexec.Kernel, error) {
	status := m.slot(s)
	if status.Content != Complete {
		return kexec.Kernel{}, fmt.Errorf("kernel of slot %s: it is %s: %s: %w", s, status.Content, status.Problem, ErrNotComplete)
	}
	f, err := m.Boot.Open(s.File(bootloader.UKIFile))
	if err != nil {
		return kexec.Kernel{}, fmt.Errorf("kernel of slot %s: %w", s, err)
	}
	k, err := kexec.FromUKI(f, f.Size(), kexec.SlotArgument+string(s))
	if err != nil {
		return kexec.Kernel{}, fmt.Errorf("kernel of slot %s: %w", s, err)
	}
	return k, nil
}
