package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/report"
)

// statusCommand says what runs, what boots next and what became of the last attempt.
func statusCommand() *cobra.Command {
	var on machine
	var output string
	c := &cobra.Command{
		Use:   "status [--disk DISK]",
		Short: "Say what runs, what boots next, and what became of the last attempt",
		Args:  none,
	}
	on.flags(c)
	c.Flags().StringVar(&output, "output", "text", "text or json")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if err := commandline.Word("output", output, "text", "json"); err != nil {
			return usageError{err}
		}
		m, err := on.open(true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		s, err := m.Status()
		if err != nil {
			return err
		}
		if output == "json" {
			printJSON(out(c), s)
			return nil
		}
		printStatus(out(c), s)
		if len(m.Problems) > 0 {
			out(c).Printf("do: %s, while nothing of the disk is in use; `installer doctor` says if that mends it\n",
				remedies[doctor.RepairTable])
		}
		return nil
	}
	return c
}

func printStatus(w *terminal.Printer, s report.Status) {
	w.Printf("running: %s in slot %s, boot %s\n", orUnknown(s.Version), s.Loader.Active, orUnknown(s.BootID))
	w.Printf("loader: %s\n", orUnknown(s.Loader.Loader))
	w.Printf("default: slot %s\n", s.Loader.Default)
	if s.Loader.Armed != bootloader.None {
		by := ""
		if s.Loader.ArmedBy != "" {
			by = ", by " + s.Loader.ArmedBy
		}
		w.Printf("armed: slot %s for %d boot(s)%s\n", s.Loader.Armed, s.Loader.Tries, by)
	}
	switch {
	case s.Unordered != "":
		w.Printf("unordered: no attempt ordered this boot, so it is not confirmed by itself: %s (`installer confirm` "+
			"keeps it,"+
			" `installer rollback` and a restart go back)\n", s.Unordered)
	case s.Loader.Trial() && s.Loader.Armed == s.Loader.Active:
		w.Printf("trial: the running slot is not confirmed; a reboot tries it again\n")
	case s.Loader.Trial():
		w.Printf("trial: the running slot is not confirmed; a reboot falls back\n")
	}
	for _, slot := range s.Slots {
		holds := string(slot.Content)
		if slot.Content == report.Complete {
			holds += fmt.Sprintf(" %s %s", slot.Manifest.Version, slot.Manifest.Image)
		} else if slot.Problem != "" {
			holds += " (" + slot.Problem + ")"
		}
		w.Printf("slot %s: %s\n", slot.Slot, holds)
	}
	if s.Attempt != nil {
		w.Printf("attempt: %s\n", s.Attempt)
		if s.Attempt.Reached != "" && s.Attempt.Result != attempt.Confirmed {
			w.Printf("reached: %s\n", s.Attempt.Reached)
		}
		if c := s.Attempt.Crash; c != nil {
			w.Printf("its kernel's last words, at %s by its clock:\n", c.When.Format(time.RFC3339))
			for line := range strings.SplitSeq(c.Log, "\n") {
				w.Printf("  %s\n", line)
			}
		}
	}
	for _, b := range s.KnownBad {
		w.Printf("known bad: %s %s: %s\n", b.Version, b.Image, b.Reason)
	}
	for _, warning := range s.Warnings {
		w.Printf("warning: %s\n", warning)
	}
	if s.Loader.Blocked != nil {
		w.Printf("blocked: no upgrade can be armed: %v\n", s.Loader.Blocked)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

// printJSON writes the status with stable field names.
func printJSON(w *terminal.Printer, s report.Status) {
	type slot struct {
		Slot      bootloader.Slot `json:"slot"`
		Content   report.Content  `json:"content"`
		Version   string          `json:"version,omitempty"`
		Image     string          `json:"image,omitempty"`
		Reference string          `json:"reference,omitempty"`
		Problem   string          `json:"problem,omitempty"`
	}
	out := struct {
		Version   string           `json:"version"`
		BootID    string           `json:"bootId"`
		Loader    string           `json:"loader"`
		Active    bootloader.Slot  `json:"active"`
		Default   bootloader.Slot  `json:"default"`
		Armed     bootloader.Slot  `json:"armed"`
		ArmedBy   string           `json:"armedBy,omitempty"`
		Tries     int              `json:"tries"`
		Trial     bool             `json:"trial"`
		Unordered string           `json:"unordered,omitempty"`
		Slots     []slot           `json:"slots"`
		Attempt   *attempt.Attempt `json:"attempt,omitempty"`
		KnownBad  []attempt.Bad    `json:"knownBad,omitempty"`
		Warnings  []string         `json:"warnings,omitempty"`
		Blocked   string           `json:"blocked,omitempty"`
	}{
		Version: s.Version, BootID: s.BootID, Loader: s.Loader.Loader, Active: s.Loader.Active,
		Default: s.Loader.Default,
		Armed:   s.Loader.Armed, ArmedBy: s.Loader.ArmedBy, Tries: s.Loader.Tries, Trial: s.Loader.Trial(),
		Unordered: s.Unordered, Attempt: s.Attempt, KnownBad: s.KnownBad, Warnings: s.Warnings,
	}
	for _, sl := range s.Slots {
		out.Slots = append(out.Slots, slot{sl.Slot, sl.Content, sl.Manifest.Version, sl.Manifest.Image,
			sl.Manifest.Reference, sl.Problem})
	}
	if s.Loader.Blocked != nil {
		out.Blocked = s.Loader.Blocked.Error()
	}
	w.JSON(out, "  ")
}
