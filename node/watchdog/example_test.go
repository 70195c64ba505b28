package watchdog_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/node/watchdog"
)

// Feed a watchdog for as long as work is underway; if the machine hangs meanwhile, it is reset.
func Example() {
	work, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w, err := watchdog.Open("/dev/nosuchwatchdog", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	for work.Err() == nil {
		_ = w.Feed()
		time.Sleep(w.Timeout() / 4)
	}
	_ = w.Disarm()
	// Output: open watchdog: open /dev/nosuchwatchdog: no such file or directory
}
