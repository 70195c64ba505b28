package main

import (
	"errors"
	"math"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/report"
)

// statusCommand says what runs, what boots next and what became of the last attempt.
func statusCommand() *cobra.Command {
	var on machine
	var output string
	var whole bool
	c := &cobra.Command{
		Use:   "status [--disk DISK]",
		Short: "Say what runs, what boots next, and what became of the last attempt",
		Args:  none,
	}
	on.flags(c)
	c.Flags().StringVar(&output, "output", "text", "text or json")
	c.Flags().BoolVar(&whole, "log", false, "show all that is kept of a failed trial's kernel log")
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
		if text := mirrorWarning(m.Machine, m.disk); text != "" {
			s.Warnings = append(s.Warnings, text)
		}
		if output == "json" {
			printJSON(out(c), s)
			return nil
		}
		shown(s).Print(out(c), whole)
		if len(m.Problems) > 0 {
			out(c).Printf("do: %s, while nothing of the disk is in use; `installer doctor` says if that mends it\n",
				remedies[doctor.RepairTable])
		}
		return nil
	}
	return c
}

// shown is what is known of this machine, as it is shown.
func shown(s report.Status) show.Status {
	shown := show.Status{
		Program: "installer", Version: s.Version, Boot: s.BootID, Loader: s.Loader.Loader, Active: string(s.Loader.Active),
		Default: string(s.Loader.Default), Armed: string(s.Loader.Armed), ArmedBy: s.Loader.ArmedBy,
		Tries: uint32(min(max(s.Loader.Tries, 0), math.MaxInt32)), Trial: s.Loader.Trial(), Unordered: s.Unordered,
		Warnings: s.Warnings,
	}
	for _, slot := range s.Slots {
		shown.Slots = append(shown.Slots, show.Slot{Name: string(slot.Slot), Content: string(slot.Content),
			Version: slot.Manifest.Version, Image: slot.Manifest.Image, Reference: slot.Manifest.Reference,
			Problem: slot.Problem})
	}
	if a := s.Attempt; a != nil {
		shown.Attempt = &show.Attempt{Text: a.String(), Confirmed: a.Result == attempt.Confirmed, Staging: a.Staging(),
			Reached: a.Reached}
		if c := a.Crash; c != nil {
			shown.Attempt.Panic, shown.Attempt.Log = c.Panic, c.Log
		}
	}
	for _, b := range s.KnownBad {
		shown.KnownBad = append(shown.KnownBad, show.Bad{Version: b.Version, Image: b.Image, Reason: b.Reason})
	}
	if s.Loader.Blocked != nil {
		shown.Blocked = s.Loader.Blocked.Error()
	}
	return shown
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
