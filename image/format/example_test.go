package format_test

import (
	"fmt"

	"github.com/pawl-os/pawl/image/format"
)

func Example() {
	fmt.Println(format.Dir("amd64") + "/" + format.UKI)
	fmt.Println(format.FramesAnnotation, format.Frames{Head: 212, Content: 1 << 20, Packed: []int64{7012},
		SHA256: []string{"5e1f"}})
	fmt.Println(format.SignatureTag("sha256:5e1f"))
	// Output:
	// usr/install/amd64/vmlinuz.efi
	// org.pawl-os.frames {"head":212,"content":1048576,"packed":[7012],"sha256":["5e1f"]}
	// sha256-5e1f.sig
}
