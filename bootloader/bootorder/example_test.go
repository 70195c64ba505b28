package bootorder_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// What BootCurrent says is named for people.
func Example() {
	vars := efivar.NewMemory()
	option := efivar.LoadOption{Attributes: efivar.Active, Description: "Pawl",
		Path: []efivar.Node{efivar.FilePath(`\EFI\BOOT\BOOTX64.EFI`), efivar.End()}}
	data, err := option.Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	for name, value := range map[efivar.Name][]byte{efivar.Boot(3): data,
		efivar.Global("BootCurrent"): efivar.EncodeNumbers(3)} {
		if err := vars.Write(name, efivar.Variable{Attributes: efivar.Kept, Data: value}); err != nil {
			fmt.Println(err)
			return
		}
	}
	n, known, err := bootorder.Current(vars)
	fmt.Println(bootorder.Describe(vars, n), known, err)
	// Output: Boot0003 "Pawl" true <nil>
}
