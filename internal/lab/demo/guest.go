package main

import (
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/partition"
)

// line tells the event that a line of the machine's console is.
func (d *demo) line(line string) {
	e, ok := vmtest.ParseEvent(line)
	switch {
	case strings.Contains(line, "Kernel panic"):
		d.time.Say("machine", "%s", line[strings.Index(line, "Kernel panic"):])
	case !ok:
	case e.Name == "boot":
		d.boots++
		what := "the default"
		if e.Values["trial"] == "true" {
			what = "on trial; the default is slot " + e.Values["default"]
		}
		d.time.Say("machine", "boot %d: version %s in slot %s, %s (boot id %.8s, image %.19s)", d.boots, e.Values["version"],
			e.Values["slot"], what, e.Values["boot"], e.Values["digest"])
	case e.Name == "ready":
		d.time.Say("machine", "ready: version %s, the default is slot %s", e.Values["version"], e.Values["default"])
	case e.Name == "restart":
		d.time.Say("machine", "restarts: %s", e.Values["reason"])
	}
}

// removeWayBack empties what tells the loader of the default slot, behind the back of the running machine.
func removeWayBack(path string, loader string) error {
	raw, err := disk.Open(path)
	if err != nil {
		return err
	}
	defer raw.Close()
	layout, err := partition.Read(raw)
	if err != nil {
		return err
	}
	p, err := layout.Find("EFI")
	if err != nil {
		return err
	}
	boot, err := bootfs.Open(partition.Section(raw, p), bootfs.Options{Zones: bootloader.Zones()})
	if err != nil {
		return err
	}
	entry := "loader/entries/pawl-b.conf"
	if loader != loaders.SystemdBoot {
		entry = "grub/B.cfg"
	}
	return boot.Overwrite(entry, []byte(strings.Repeat("\n", 512)))
}
