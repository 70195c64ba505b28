package report_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/report"
)

func ExampleStatus() {
	s := report.Status{
		Loader: bootloader.State{Active: bootloader.A, Default: bootloader.A},
		Slots: [2]report.Slot{
			{Slot: bootloader.A, Content: report.Complete, Manifest: bootloader.Manifest{Version: "1.0.0"}},
			{Slot: bootloader.B, Content: report.Partial, Problem: "no manifest"},
		},
	}
	fmt.Println(s.Running())
	fmt.Println(s.Slots[1])
	// Output:
	// slot A holds version 1.0.0
	// slot B is partial: no manifest
}
