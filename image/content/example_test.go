package content_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/partition/disktest"
)

func Example() {
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "hostname"), []byte("node-1\n"), 0o600); err != nil {
		panic(err)
	}
	c, err := content.Open(dir)
	if err != nil {
		panic(err)
	}
	part := disktest.New(40<<20, 512)
	err = c.Fill(context.Background(), part, content.Options{Label: "STATE", Time: time.Unix(0, 0).UTC()})
	fmt.Println(c.Size(), err)
	// Output: 7 <nil>
}
