package secureboot_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// Before a program is put where firmware looks for one: does this firmware start it? On a machine, vars is what
// efivar.Open returns.
func Example() {
	program, err := authenticode.Read(loadertest.Loader("amd64"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, digest := range [][32]byte{{}, program.Digest} { // a firmware that trusts one program by its digest
		db, err := secureboot.Encode(secureboot.Of(secureboot.TypeSHA256, digest[:]))
		if err != nil {
			fmt.Println(err)
			return
		}
		vars := efivar.NewMemory()
		_ = vars.Write(efivar.Global("SecureBoot"), efivar.Variable{Attributes: efivar.Kept, Data: []byte{1}})
		_ = vars.Write(secureboot.Database("db"), efivar.Variable{Attributes: efivar.Kept, Data: db})
		firmware := secureboot.Read(vars)
		fmt.Println(firmware, "-", firmware.Judge(program))
	}
	// Output:
	// Secure Boot is on - refused by Secure Boot: not signed by a certificate in db
	// Secure Boot is on - <nil>
}
