package device_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/partition/device"
)

// memory is the least that a device needs.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) Sync() error                              { return nil }
func (m memory) Size() int64                              { return int64(len(m)) }
func (m memory) SectorSize() int                          { return 512 }

func Example() {
	part := device.Section(make(memory, 8192), 4096, 2048) // as of a partition
	if _, err := part.WriteAt([]byte("here"), 512); err != nil {
		fmt.Println(err)
	}
	_, err := part.WriteAt([]byte("beyond its end"), part.Size())
	fmt.Println(err)
	found, _ := io.ReadAll(io.NewSectionReader(part, 512, 4))
	fmt.Printf("%s\n", found)
	_, err = device.Direct(part) // an optional power, which memory does not have
	fmt.Println(err)
	// Output:
	// write 14 bytes at 2048: outside of the partition of 2048 bytes
	// here
	// the device has no way past its cache
}
