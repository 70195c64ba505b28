package chunks_test

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/image/chunks"
)

// Where a version has something more in front, what follows is cut as before.
func Example() {
	old := random(1<<20, "a version")
	have := map[chunks.Sum]bool{}
	_ = chunks.Split(bytes.NewReader(old), func(_ int64, c []byte) error {
		have[chunks.SumOf(c)] = true
		return nil
	})
	missing := 0
	_ = chunks.Split(bytes.NewReader(append([]byte("a new line\n"), old...)), func(_ int64, c []byte) error {
		if !have[chunks.SumOf(c)] {
			missing++
		}
		return nil
	})
	fmt.Println("chunks to fetch:", missing)
	// Output:
	// chunks to fetch: 1
}
