package kexec_test

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/kexec"
)

// What would be started from a slot's UKI; Load and Jump would do it.
func ExampleFromUKI() {
	var file bytes.Buffer
	stub := uki.Bytes("", loadertest.Stub()).Data
	_, err := uki.Assemble(&file, stub, uki.Bytes(uki.Cmdline, []byte("quiet panic=10")),
		uki.Bytes(uki.Linux, []byte("a kernel")))
	if err != nil {
		panic(err)
	}
	k, err := kexec.FromUKI(bytes.NewReader(file.Bytes()), int64(file.Len()), cmdline.Slot+"=A")
	fmt.Println(k.Cmdline, k.Linux.Size(), err)
	// Output: pawl.slot=A quiet panic=10 8 <nil>
}
