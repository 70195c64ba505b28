package uki_test

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// A UKI from a stub, and what it says of itself.
func Example() {
	stub, err := os.Open("testdata/stub.efi")
	if err != nil {
		panic(err)
	}
	defer stub.Close()
	info, err := stub.Stat()
	if err != nil {
		panic(err)
	}

	var file bytes.Buffer
	if _, err := uki.Assemble(&file, io.NewSectionReader(stub, 0, info.Size()),
		uki.Bytes(uki.OSRelease, []byte("ID=example\nVERSION_ID=1.2.3\n")),
		uki.Bytes(uki.Cmdline, []byte("console=ttyS0 panic=5")),
		uki.Bytes(uki.Initrd, []byte("an initramfs")),
		uki.Bytes(uki.Linux, []byte("a kernel")),
	); err != nil {
		panic(err)
	}

	img, err := uki.Parse(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		panic(err)
	}
	release, err := img.Release()
	if err != nil {
		panic(err)
	}
	cmdline, err := img.Text(uki.Cmdline)
	if err != nil {
		panic(err)
	}
	fmt.Println(img.Arch, release["VERSION_ID"], cmdline)
	// Output: amd64 1.2.3 console=ttyS0 panic=5
}
