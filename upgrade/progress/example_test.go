package progress_test

import (
	"fmt"

	"github.com/pawl-os/pawl/upgrade/progress"
)

func ExampleEvent() {
	show := func(e progress.Event) {
		switch {
		case e.Done:
			fmt.Println(e.Step, "is over")
		case e.File != "":
			fmt.Printf("%s %s: %d of %d bytes\n", e.Step, e.File, e.Bytes, e.Total)
		}
	}
	show(progress.Event{Step: progress.StepWrite}) // it begins
	show(progress.Event{Step: progress.StepWrite, File: "os.efi", Bytes: 512, Total: 1024})
	show(progress.Event{Step: progress.StepWrite, Done: true})
	// Output:
	// write os.efi: 512 of 1024 bytes
	// write is over
}
