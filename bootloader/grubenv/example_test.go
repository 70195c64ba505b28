package grubenv_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/grubenv"
)

func Example() {
	b := grubenv.New(64)
	if err := b.Set("trial", "B"); err != nil {
		panic(err)
	}
	if err := b.Set("tries", "3"); err != nil {
		panic(err)
	}
	fmt.Println(string(b))
	// Output:
	// # GRUB Environment Block
	// trial=B
	// tries=3
	// #######################
}
