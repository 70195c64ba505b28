package osimage_test

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/examples/os/osimage"
)

func Example() {
	initramfs := new(bytes.Buffer)
	a := osimage.NewArchive(initramfs)
	a.CharDevice("dev/console", 0o600, 5, 1)
	a.File("init", 0o755, []byte("a static program"))
	if err := a.Close(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, %d bytes; %s\n", initramfs.Bytes()[:6], initramfs.Len(), osimage.ParseTag("2.1.0-panic").Broken)
	// Output: 070701, 496 bytes; panic
}
