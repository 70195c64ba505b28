// Package foretell is what upgrade and its doctor ask beside the model itself: what kind of machine a disk belongs to,
// and whether a boot loads what it is to.
package foretell

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
)

// Matches holds what a boot loads against the manifest of its slot.
func Matches(b predict.Outcome, m bootloader.Manifest) error {
	want := map[string]string{}
	for _, f := range m.Files {
		want[f.Name] = f.SHA256
	}
	name := b.Path[len(b.Slot.Dir())+1:]
	if b.Digest != want[name] {
		return fmt.Errorf("its %s is not what its manifest says", name)
	}
	if b.Initrd != "" && b.Initrd != want[bootloader.InitrdFile] {
		return fmt.Errorf("its %s is not what its manifest says", bootloader.InitrdFile)
	}
	return nil
}

// Firmware is the kind of machine that a disk and its variables belong to.
func Firmware(disk device.Device, vars *efivar.Memory) predict.Options {
	o := predict.Made(disk)
	if o.BIOS && len(vars.Values()) > 0 {
		return predict.Options{} // its loader is lost
	}
	return o
}

// Modelled is Firmware for a machine with that loader, whose boots are predicted by its own model. Where there is none
// it is predict.ErrNotModelled.
func Modelled(b bootloader.Backend, disk device.Device, vars *efivar.Memory) (predict.Options, error) {
	o := Firmware(disk, vars)
	switch none := len(vars.Values()) == 0; {
	case predict.ByBIOS(b.Name()) && none: // others may have put a loader where UEFI looks for one
		o = predict.Options{BIOS: true}
	case predict.ByEither(b.Name()): // then the machine says it: a BIOS has no variables
		o.BIOS = none
	}
	model, ok := b.(predict.Model)
	if ok {
		o.Model = model
	} else if name := b.Name(); !predict.Knows(name) {
		return o, fmt.Errorf("what the loader %s starts: it comes without a model (predict.Model): %w", name,
			predict.ErrNotModelled)
	}
	return o, nil
}
