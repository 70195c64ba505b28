package proof

import (
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/upgrade"
)

// What is systemd-boot's own: its variables, and states that others leave in them.

// oneShot is the slot that LoaderEntryOneShot names; None when nothing is armed.
func (m *machine) oneShot() bootloader.Slot {
	v, err := m.vars.Read(efivar.Loader("LoaderEntryOneShot"))
	if err != nil {
		return bootloader.None
	}
	name, _ := efivar.DecodeString(v.Data)
	for _, s := range bootloader.Slots {
		if name == entryID(s) {
			return s
		}
	}
	return bootloader.None
}

func entryID(s bootloader.Slot) string { return "pawl-" + strings.ToLower(string(s)) + ".conf" }

// setForeignDefault is somebody who told systemd-boot by a variable to boot the running slot.
func setForeignDefault(m *machine, t bootloader.Slot) error {
	return m.vars.Write(efivar.Loader("LoaderEntryDefault"), efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString(entryID(t.Other()))})
}

// destroyConf overwrites loader.conf with random bytes, as a cut can.
func destroyConf(m *machine, _ bootloader.Slot) error { return m.destroy("loader/loader.conf") }

// sdbootOperations are the rows that only systemd-boot has, and what it adds to those of all loaders.
func sdbootOperations(table []operation) []operation {
	add := adder(table)
	add("upgrade", foreignDefault)
	add("confirm", onTrial.then("loader.conf destroyed", destroyConf), onTrial.then("LoaderEntryDefault set", setForeignDefault))
	return append(table, operation{
		name: "install on a machine with variables", long: true, starts: []start{{"empty disk", nil}}, end: changes, commit: "*", what: imageOf("1.1.0"),
		do: func(m *machine) error { return m.install("1.1.0", upgrade.InstallOptions{Vars: m.vars}) },
	})
}
