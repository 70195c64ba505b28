package bootfs_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// A boot file system with two slots: the target is cleared, written and completed, while nothing of the other is
// touched.
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	disk := disktest.New(64<<20, 512) // any device will do: a partition, an image file
	must(bootfs.Format(disk, bootfs.FormatOptions{Label: "EFI", VolumeID: 0x50415754}))

	f, err := bootfs.Open(disk, bootfs.Options{
		Zones: []string{"EFI/pawl/A", "EFI/pawl/B"},
		Now:   func() time.Time { return time.Date(2026, 5, 17, 0, 0, 0, 0, time.UTC) },
	})
	must(err)
	must(f.Mkdir("EFI/pawl/A"))
	must(f.Mkdir("EFI/pawl/B"))
	must(f.WriteFile("loader.conf", []byte("default pawl-a.conf\n")))

	must(f.Clear("EFI/pawl/B"))
	kernel := strings.Repeat("kernel ", 100_000)
	w, err := f.Create("EFI/pawl/B/os.efi", int64(len(kernel)))
	must(err)
	defer w.Abort() // does nothing after Close
	_, err = w.ReadFrom(strings.NewReader(kernel))
	must(err)
	must(w.Close()) // from here on it is there, also after a power cut
	must(f.Overwrite("loader.conf", []byte("default pawl-b.conf\n")))

	info, err := f.Stat("efi/PAWL/b/OS.EFI")
	must(err)
	fmt.Println(info.Name, info.Size, info.ModTime.Format(time.DateOnly))
	_, err = f.Create("EFI/pawl/B/initrd", 70<<20)
	fmt.Println(errors.Is(err, bootfs.ErrFull))
	// Output:
	// os.efi 700000 2026-05-17
	// true
}
