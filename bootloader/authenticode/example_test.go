package authenticode_test

import (
	"fmt"
	"os"

	"github.com/pawl-os/pawl/bootloader/authenticode"
)

// Who signed a loader.
func Example() {
	image, err := os.ReadFile("testdata/ab.efi")
	if err != nil {
		fmt.Println(err)
		return
	}
	signed, err := authenticode.Read(image)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range signed.Signers() {
		fmt.Println(c.Subject.CommonName)
	}
	// Output:
	// Pawl test A
	// Pawl test B
}
