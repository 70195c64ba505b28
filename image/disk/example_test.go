package disk_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/image/disk"
)

// A new image is a device at once; what is written is there when it is opened again.
func Example() {
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "disk.raw")

	image, err := disk.Create(path, 4<<30)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = image.WriteAt([]byte("hello"), 1<<30)
	fmt.Println(err, image.Sync(), image.Close())

	image, err = disk.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = image.Close() }()
	text := make([]byte, 5)
	_, err = image.ReadAt(text, 1<<30)
	fmt.Println(string(text), err, image.Size()>>30, "GiB")
	// Output:
	// <nil> <nil> <nil>
	// hello <nil> 4 GiB
}
