package verity_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/image/verity"
)

// An image gets its tree appended to it while it is written, and is checked before it is used.
func Example() {
	data := bytes.Repeat([]byte("a root file system. "), 4096) // 20 blocks
	disk := &memory{}
	if _, err := disk.WriteAt(data, 0); err != nil {
		panic(err)
	}
	tree := io.NewOffsetWriter(disk, int64(len(data)))
	builder, err := verity.NewBuilder(tree, verity.Superblock{DataBlocks: int64(len(data)) / verity.BlockSize})
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(builder, bytes.NewReader(data)); err != nil {
		panic(err)
	}
	root, err := builder.Finish()
	if err != nil {
		panic(err)
	}

	disk.b[5] = '!' // somebody changes a byte
	image, err := verity.OpenImage(bytes.NewReader(disk.b), int64(len(disk.b)), root)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(disk.b)-len(data), "bytes of tree")
	fmt.Println(image.Check(context.Background()) != nil)
	// Output:
	// 8192 bytes of tree
	// true
}
