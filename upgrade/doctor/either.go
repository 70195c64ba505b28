package doctor

import (
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/upgrade"
)

// either predicts the boots of a disk that UEFI and a BIOS alike start on the other kind of machine too, after those on
// a machine of this kind: what is broken there is found before the disk is moved.
func (d *Diagnosis) either(disk device.Device, m *upgrade.Machine, o predict.Options) {
	if m == nil || !predict.ByEither(m.Backend().Name()) {
		return
	}
	const about = "boots of the other firmware"
	other := "A BIOS"
	if o.BIOS {
		other = "UEFI"
	}
	o.BIOS = !o.BIOS
	boots, err := predict.Next(disk, efivar.NewMemory(), len(d.Boots), o)
	if err != nil {
		d.add(Degraded, about, "start it there once and see", "What %s makes of this disk is not known: %v.", other, err)
		return
	}
	for i, b := range boots {
		switch {
		case b.Stuck != "":
			d.add(Degraded, about, "install again, or leave the disk to machines of this kind",
				"%s starts nothing of this disk: %s.", other, b.Stuck)
			return
		case d.Boots[i].Stuck == "" && !sameBoot(b, d.Boots[i]):
			d.add(Degraded, about, "report this, with the disk",
				"%s starts slot %v of this disk in boot %d, where this machine starts slot %v.", other, b.Slot, i+1,
				d.Boots[i].Slot)
			return
		}
	}
	d.add(Fine, about, "", "%s starts the same of this disk.", other)
}
