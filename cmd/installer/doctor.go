package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// errBroken is the end of a doctor that found something broken. What and why has been printed.
var errBroken = errors.New("something is broken")

// doctorCommand says what boots next and why, and what is redundant or broken.
func doctorCommand() *cobra.Command {
	var on machine
	var output string
	var repair bool
	c := &cobra.Command{
		Use:   "doctor [--disk DISK] [--repair]",
		Short: "Predict the next three boots, and say what is redundant and what is broken",
		Long: "Predict the next three boots from the disk and the firmware's variables, and say what is redundant " +
			"and what is broken.\n" +
			"Nothing is written or locked, but with --repair: that first removes variables of the firmware that name " +
			"a slot in place of the\n" +
			"loader's own default, and Pawl's boot entries for disks that are gone, and brings a second boot file " +
			"system in step. Of a file that holds a disk " +
			"image, without --efivars, the boots are those of a machine\n" +
			"that was never started. What is degraded does not stop the machine from booting; what is broken does, " +
			"and the exit code is 6.",
		Args: none,
	}
	on.flags(c)
	c.Flags().BoolVar(&repair, "repair", false,
		"first remove what an upgrade would remove from the firmware's variables; what boots by itself stays")
	c.Flags().StringVar(&output, "output", "text", "text or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := commandline.Word("output", output, "text", "json"); err != nil {
			return usageError{err}
		}
		disk, o, err := on.options()
		if err != nil {
			return err
		}
		if info, err := os.Stat(disk); err == nil && info.Mode().IsRegular() && !c.Flags().Changed("efivars") {
			o.Vars, o.Cmdline = efivar.Absent(), new(string) // this machine's are not its
		}
		if repair {
			if err := repairMachine(c, disk, o); err != nil {
				return err
			}
		}
		d, err := diagnose(c.Context(), disk, o)
		if err != nil {
			return err
		}
		if output == "json" {
			printDiagnosisJSON(out(c), d)
		} else {
			printDiagnosis(out(c), d)
		}
		if d.Severity() == doctor.Broken {
			return errBroken
		}
		return nil
	}
	return c
}

// diagnose looks at a disk, or at a file that holds one in any format.
func diagnose(ctx context.Context, disk string, o upgrade.OpenOptions) (d doctor.Diagnosis, err error) {
	in, err := held(disk)
	switch {
	case err != nil:
		return d, err
	case !in:
		return doctor.Diagnose(ctx, disk, o)
	}
	file, err := openHeld(disk)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return doctor.DiagnoseDevice(ctx, file, o)
}

func repairMachine(c *cobra.Command, disk string, o upgrade.OpenOptions) (err error) {
	if err := writable(disk); err != nil {
		return err
	}
	m, err := upgrade.Open(disk, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Repair(c.Context()); err != nil {
		return err
	}
	keepMirror(c, m, disk, mirror.KeepOptions{Deep: true, Move: true})
	return nil
}

// remedies are the commands for what the doctor says to do.
var remedies = map[doctor.Remedy]string{
	doctor.RepairTable:   "`installer disk repair`",
	doctor.ResetMeta:     "`installer meta reset`",
	doctor.Repair:        "`installer doctor --repair`",
	doctor.ReplaceLoader: "`installer loader`",
	doctor.ForceLoader:   "`installer loader --force`",
	doctor.Disarm:        "`installer rollback`",
	doctor.Decide:        "`installer confirm`, `installer rollback`",
}

func printDiagnosis(w *terminal.Printer, d doctor.Diagnosis) {
	r := show.Diagnosis{Assumes: d.Assumes}
	for _, b := range d.Boots {
		r.Boots = append(r.Boots, show.Boot{Slot: string(b.Slot), Version: version(d, b.Slot), Path: b.Path,
			Stuck: b.Stuck, Trial: b.Trial, Why: b.Why})
	}
	for _, f := range d.Findings {
		r.Findings = append(r.Findings, show.Finding{Severity: string(f.Severity), About: f.About, Text: f.Text,
			Do: f.Do, By: remedies[f.Remedy]})
	}
	r.Print(w, "")
	w.Printf("result: %s\n", d.Severity())
}

// version is what the manifest of a slot says.
func version(d doctor.Diagnosis, s bootloader.Slot) string {
	for _, slot := range d.Status.Slots {
		if slot.Slot == s {
			return slot.Manifest.Version
		}
	}
	return ""
}

// printDiagnosisJSON writes the diagnosis with stable field names.
func printDiagnosisJSON(w *terminal.Printer, d doctor.Diagnosis) {
	type boot struct {
		Slot    bootloader.Slot `json:"slot"`
		Version string          `json:"version,omitempty"`
		Trial   bool            `json:"trial"`
		Path    string          `json:"path,omitempty"`
		SHA256  string          `json:"sha256,omitempty"`
		Initrd  string          `json:"initrdSha256,omitempty"`
		Stuck   string          `json:"stuck,omitempty"`
		Why     []string        `json:"why"`
	}
	type finding struct {
		Severity doctor.Severity `json:"severity"`
		About    string          `json:"about"`
		Text     string          `json:"text"`
		Do       string          `json:"do,omitempty"`
		Remedy   doctor.Remedy   `json:"remedy,omitempty"`
	}
	out := struct {
		Severity doctor.Severity `json:"severity"`
		Boots    []boot          `json:"boots"`
		Assumes  []string        `json:"assumes,omitempty"`
		Findings []finding       `json:"findings"`
	}{Severity: d.Severity(), Assumes: d.Assumes}
	for _, b := range d.Boots {
		out.Boots = append(out.Boots, boot{b.Slot, version(d, b.Slot), b.Trial, b.Path, b.Digest, b.Initrd, b.Stuck,
			b.Why})
	}
	for _, f := range d.Findings {
		out.Findings = append(out.Findings, finding(f))
	}
	w.JSON(out, "  ")
}
