package efivar_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Set the entry that systemd-boot starts once, as every operating system sets it, and read it back. On a machine the
// store is efivar.Open(efivar.Dir).
func Example() {
	store := efivar.NewMemory()
	name := efivar.Loader("LoaderEntryOneShot")
	value := efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString("pawl-b.conf")}
	if err := store.Write(name, value); err != nil {
		fmt.Println(err)
		return
	}
	back, err := store.Read(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	entry, err := efivar.DecodeString(back.Data)
	fmt.Println(entry, err)
	// Output: pawl-b.conf <nil>
}
