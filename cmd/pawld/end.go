package main

import (
	"fmt"
	"os"
	"time"

	"github.com/pawl-os/pawl/internal/terminal"
)

// endTime is how long pawld may take to end.
const endTime = 15 * time.Second

// giveUp ends pawld though something that it does has not ended: a disk may hang.
func giveUp(said *terminal.Printer) {
	time.Sleep(endTime)
	said.Error("pawld", fmt.Errorf("what it does has not ended within %s; it ends all the same", endTime))
	os.Exit(1)
}
