package machines

import (
	"strings"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// Cell is a machine with a loader.
type Cell struct {
	Loader string
	Bus    vmtest.Bus
	Sector int    // bytes of a sector, where it is not 512
	Old    bool   // a PC of 1996
	Small  bool   // 256 MiB of memory
	Clock  string // where it stands when the machine is switched on; empty: it is right
	// Forgets is a firmware that keeps no variable over a restart.
	Forgets bool
	// Copied is a machine with an exact copy of its disk beside it.
	Copied bool
}

// String is the cell's name: "systemd-boot nvme 4096-byte sectors".
func (c Cell) String() string {
	words := []string{c.Loader, string(c.Bus)}
	for _, w := range []struct {
		is   bool
		word string
	}{
		{c.Sector == 4096, "4096-byte sectors"}, {c.Old, "i440fx"}, {c.Small, "256 MiB"}, {c.Clock != "", "no clock"},
		{c.Forgets, "forgets variables"}, {c.Copied, "a copy of the disk"},
	} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ", ")
}

// ends says how the life of a cell is to end, for people.
func (c Cell) ends() string {
	switch {
	case c.Copied:
		return "nothing is touched: which disk it is, is not known"
	case c.Forgets:
		return "the trial does not begin, and that is recorded; the old version boots"
	}
	return "installed, upgraded, confirmed; a panic falls back"
}

// Cells is the whole matrix.
func Cells() (all []Cell) {
	for _, bus := range []vmtest.Bus{vmtest.Virtio, vmtest.SCSI, vmtest.NVMe, vmtest.AHCI, vmtest.USB} {
		all = append(all, Cell{Loader: loaders.SystemdBoot, Bus: bus})
	}
	for _, bus := range []vmtest.Bus{vmtest.SCSI, vmtest.NVMe, vmtest.AHCI, vmtest.USB} {
		all = append(all, Cell{Loader: loaders.GRUBBIOS, Bus: bus}, Cell{Loader: loaders.GRUBUEFI, Bus: bus})
	}
	return append(all,
		Cell{Loader: loaders.SystemdBoot, Bus: vmtest.IDE, Old: true},
		Cell{Loader: loaders.GRUBBIOS, Bus: vmtest.IDE, Old: true},
		Cell{Loader: loaders.GRUBUEFI, Bus: vmtest.IDE, Old: true},
		Cell{Loader: loaders.SystemdBoot, Bus: vmtest.NVMe, Sector: 4096},
		Cell{Loader: loaders.GRUBUEFI, Bus: vmtest.NVMe, Sector: 4096},
		Cell{Loader: loaders.SystemdBoot, Bus: vmtest.SCSI, Small: true, Clock: noClock},
		Cell{Loader: loaders.GRUBBIOS, Bus: vmtest.AHCI, Small: true, Clock: noClock},
		Cell{Loader: loaders.SystemdBoot, Bus: vmtest.Virtio, Forgets: true},
		Cell{Loader: loaders.SystemdBoot, Bus: vmtest.NVMe, Copied: true},
	)
}

// noClock is where the clock of a machine stands whose battery is empty.
const noClock = "1970-01-01T00:00:00"

// Sample is what `make test` has time for.
func Sample() []Cell {
	return []Cell{{Loader: loaders.SystemdBoot, Bus: vmtest.NVMe, Sector: 4096}}
}
