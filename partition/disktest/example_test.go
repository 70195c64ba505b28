package disktest_test

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/partition/disktest"
)

// A program keeps two copies of a byte. At every crash one of them must hold the old or the new value. With its
// flush taken away, the same check fails.
func Example() {
	disk := disktest.New(1<<20, 512)
	write := func(copy int64) { _, _ = disk.WriteAt([]byte{0x42}, copy*512) }

	disk.Record()
	disk.Step("second copy")
	write(1)
	_ = disk.Sync()
	disk.Step("first copy")
	write(0)
	_ = disk.Sync()

	check := func(c *disktest.Crash) error {
		for copy := range int64(2) {
			b := make([]byte, 1)
			if _, err := c.Device().ReadAt(b, copy*512); err == nil && (b[0] == 0 || b[0] == 0x42) {
				return nil
			}
		}
		return errors.New("both copies lost")
	}
	trace := disk.Trace()
	fmt.Println("crashes:", trace.Count(disktest.Options{}), "lost:", trace.Crashes(disktest.Options{}, check) != nil)

	// Both copies in one block of 4096 bytes: that cannot work.
	fmt.Println("one page for both, lost:", trace.Crashes(disktest.Options{Block: 4096}, check) != nil)
	// Output:
	// crashes: 8 lost: false
	// one page for both, lost: true
}
