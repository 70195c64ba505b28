package upgrade

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/upgrade/internal/foretell"
	"github.com/pawl-os/pawl/upgrade/internal/sentence"
	"github.com/pawl-os/pawl/upgrade/report"
)

// byKexec reports whether the running kernel was started by kexec, so that nothing has shown that the firmware starts
// it too.
func (m *Machine) byKexec(s bootloader.Slot) bool {
	if m.startedByKexec() {
		return true
	}
	a, err := m.attempt()
	return err == nil && a != nil && a.Open() && a.Kexec && a.To == s
}

// startsCold predicts what the machine boots once s is confirmed, from a confirm of s that is played on a copy in
// memory, and refuses what is not s as its manifest has it.
func (m *Machine) startsCold(s report.Slot) error {
	if m.Disk == nil {
		return fmt.Errorf("it was started by kexec, and what the firmware would start is not known without the disk: "+
			"%w", ErrCold)
	}
	disk := predict.NewOverlay(m.Disk)
	vars, err := predict.Variables(m.Vars)
	if err != nil {
		return fmt.Errorf("it was started by kexec: %w", err)
	}
	sure, err := OpenDevice(disk, OpenOptions{
		Loaders: []bootloader.Backend{m.backend}, Labels: m.Labels, Vars: vars, Gone: m.Gone, Cmdline: &m.Cmdline,
		BootID: m.BootID, Version: m.Version, Now: m.config.Now,
	})
	if err == nil {
		err = sure.Loader.Confirm(s.Slot)
	}
	if err != nil {
		return fmt.Errorf("it was started by kexec; a confirm that was only played failed: %w", err)
	}
	var boots []predict.Outcome
	fw, err := foretell.Modelled(m.backend, disk, vars)
	if err == nil {
		boots, err = predict.Next(disk, vars, 1, fw)
	}
	if err != nil {
		return fmt.Errorf("it was started by kexec: %w: %w", err, ErrCold)
	}
	b, why := boots[0], ""
	switch err := error(nil); {
	case len(b.Unsure) > 0:
		why = "it is not known whether the firmware accepts its signature: " + b.Unsure[0]
	case b.Stuck != "":
		why = b.Stuck
	case b.Slot != s.Slot:
		why = fmt.Sprintf("%s starts", orPath(b))
	default:
		if err = foretell.Matches(b, s.Manifest); err == nil {
			return nil
		}
		why = err.Error()
	}
	return fmt.Errorf("it was started by kexec, and after a confirm: %s %s: %w (restart to fall back)",
		strings.Join(b.Why, " "), sentence.Upper(why), ErrCold)
}

// orPath names what a boot starts.
func orPath(b predict.Outcome) string {
	if b.Slot != bootloader.None {
		return fmt.Sprintf("slot %v", b.Slot)
	}
	return b.Path
}
