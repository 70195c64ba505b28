package predict_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// What boots from a disk with a loader, one entry, and one kernel?
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	m, err := loadertest.NewMachine(512)
	must(err)
	fs, err := m.FS()
	must(err)
	for _, dir := range []string{"EFI/BOOT", bootloader.A.Dir(), "loader/entries"} {
		must(fs.Mkdir(dir))
	}
	kernel, _ := loadertest.Payload("1.0")
	must(fs.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Loader("amd64")))
	must(fs.WriteFile("EFI/pawl/A/os.efi", kernel))
	must(fs.WriteFile("loader/entries/pawl-a.conf", []byte("title Pawl\nefi /EFI/pawl/A/os.efi\n")))

	outcome, err := predict.Boot(m.Disk, efivar.NewMemory(), predict.Options{})
	must(err)
	fmt.Println(outcome.Slot, outcome.Path, outcome.Entry)

	// The same with a kernel that is cut short: the loader gives up, and the firmware has nothing but its shell.
	must(fs.WriteFile("EFI/pawl/A/os.efi", kernel[:len(kernel)/2]))
	outcome, err = predict.Boot(m.Disk, efivar.NewMemory(), predict.Options{})
	must(err)
	fmt.Println(outcome)
	// Output:
	// A EFI/pawl/A/os.efi pawl-a.conf
	// stuck: the firmware ends in its shell (loader starts: 1)
}

// What will the next boots start, and why? Slot B is set to boot once.
func ExampleNext() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	m, err := loadertest.NewMachine(512)
	must(err)
	fs, err := m.FS()
	must(err)
	for _, dir := range []string{"EFI/BOOT", bootloader.A.Dir(), bootloader.B.Dir(), "loader/entries"} {
		must(fs.Mkdir(dir))
	}
	must(fs.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Loader("amd64")))
	must(fs.WriteFile("loader/loader.conf", []byte("default pawl-a.conf\n")))
	for _, s := range bootloader.Slots() {
		kernel, _ := loadertest.Payload(string(s))
		must(fs.WriteFile(s.File(bootloader.UKIFile), kernel))
	}
	must(fs.WriteFile("loader/entries/pawl-a.conf", []byte("efi /EFI/pawl/A/os.efi\n")))
	must(fs.WriteFile("loader/entries/pawl-b.conf", []byte("efi /EFI/pawl/B/os.efi\n")))
	once := efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString("pawl-b.conf")}
	must(m.Vars.Write(efivar.Loader("LoaderEntryOneShot"), once))

	boots, err := predict.Next(m.Disk, m.Vars, 2, predict.Options{})
	must(err)
	for _, b := range boots {
		fmt.Println(b.Slot, b.Trial, b.Why)
	}
	// Output:
	// B true [LoaderEntryOneShot names slot B; used up by this boot.]
	// A false [loader.conf names slot A.]
}
