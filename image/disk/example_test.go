package disk_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/partition"
)

// A new image gets a partition table; the file takes only what was written.
func Example() {
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	image, err := disk.Create(filepath.Join(dir, "disk.raw"), 4<<30)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = image.Close() }()
	layout, err := partition.Plan(nil, image.Size(), image.SectorSize(), partition.Default(partition.Defaults{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(partition.Apply(image, layout), len(layout.Partitions))
	// Output: <nil> 5
}
