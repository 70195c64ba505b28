package attempt_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func ExampleAttempt() {
	a := attempt.Attempt{
		Kind: attempt.Upgrade, State: attempt.Armed, From: bootloader.A, To: bootloader.B, Old: "1.0.0", Version: "2.0.0",
		Tries: 2, Trials: 1,
	}
	fmt.Println(a)
	fmt.Println("boots left:", a.Left())

	a.State, a.Result, a.Reason = attempt.Ended, attempt.FellBack, attempt.NotKnown
	fmt.Println(a)
	// Output:
	// upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): armed
	// boots left: 1
	// upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): fell back: the new version is not known to have started
}
