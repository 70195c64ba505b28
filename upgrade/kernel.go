package upgrade

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/upgrade/report"
)

// carried are the kernel arguments by which GRUB tells of this boot: which partition it was started from, and that it
// can write there. A kernel that is started by kexec is told the same, for nothing has changed about it.
var carried = []string{cmdline.Boot, cmdline.Canary}

// Kernel is what slot s holds, to be started without the firmware, with the command line that the loader would give it,
// its slot named, and how it is started. It is read while the machine is open. A slot that is not complete is
// [ErrNotComplete].
func (m *Machine) Kernel(s bootloader.Slot) (kexec.Kernel, error) {
	k, err := m.kernel(s)
	if err != nil {
		return kexec.Kernel{}, fmt.Errorf("kernel of slot %s: %w", s, err)
	}
	return k, nil
}

func (m *Machine) kernel(s bootloader.Slot) (kexec.Kernel, error) {
	status := m.slot(s)
	if status.Content != report.Complete {
		return kexec.Kernel{}, fmt.Errorf("it is %s: %s: %w", status.Content, status.Problem, ErrNotComplete)
	}
	ours := []string{cmdline.Slot + "=" + string(s), cmdline.StartKexec}
	for _, a := range cmdline.Kernel(m.Cmdline) {
		if slices.Contains(carried, a.Name) {
			ours = append(ours, a.Raw)
		}
	}
	// What the manifest lists, as the loader starts it: anything else that lies there was verified by nobody.
	if status.Manifest.Holds(bootloader.UKIFile) {
		f, err := m.Boot.Open(s.File(bootloader.UKIFile))
		if err != nil {
			return kexec.Kernel{}, err
		}
		return kexec.FromUKI(f, f.Size(), ours...)
	}
	linux, err := m.section(s.File(bootloader.KernelFile))
	if err != nil {
		return kexec.Kernel{}, err
	}
	initrd, err := m.section(s.File(bootloader.InitrdFile))
	if err != nil {
		return kexec.Kernel{}, err
	}
	line, err := m.Boot.ReadFile(s.File(bootloader.CmdlineFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kexec.Kernel{}, err
	}
	if _, said := cmdline.Panic(string(line)); !said {
		ours = append(ours, cmdline.DefaultPanic) // as the loader adds it: a kernel that dies must not hang
	}
	for _, a := range cmdline.Split(string(line)) {
		ours = append(ours, a.Raw)
	}
	return kexec.Kernel{Linux: linux, Initrd: initrd, Cmdline: strings.Join(ours, " ")}, nil
}

// section is a whole file of the boot file system.
func (m *Machine) section(path string) (*io.SectionReader, error) {
	f, err := m.Boot.Open(path)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f, 0, f.Size()), nil
}
