package proof

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/upgrade"
)

// What is systemd-boot's own: its variables, and states that others leave in them.

// triesNext is what the next boot tries, as the model has it: what is armed in any other way than by a one-shot entry
// is spread over the disk. None when that is the default.
func (m *machine) triesNext() (bootloader.Slot, error) {
	c := m.clone()
	if err := c.boot(); err != nil || !c.last.Trial {
		return bootloader.None, err
	}
	return c.last.Slot, nil
}

// oneShot is the slot that LoaderEntryOneShot names; None when nothing is armed.
func (m *machine) oneShot() bootloader.Slot {
	v, err := m.vars.Read(efivar.Loader("LoaderEntryOneShot"))
	if err != nil {
		return bootloader.None
	}
	name, _ := efivar.DecodeString(v.Data)
	for _, s := range bootloader.Slots() {
		if name == entryID(s) {
			return s
		}
	}
	return bootloader.None
}

func entryID(s bootloader.Slot) string { return "pawl-" + strings.ToLower(string(s)) + ".conf" }

// setForeignDefault is somebody who told systemd-boot by a variable to boot the running slot.
func setForeignDefault(m *machine, t bootloader.Slot) error {
	return m.vars.Write(efivar.Loader("LoaderEntryDefault"), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeString(entryID(t.Other()))})
}

// destroyConf overwrites loader.conf with random bytes, as a cut can.
func destroyConf(m *machine, _ bootloader.Slot) error { return m.destroy("loader/loader.conf") }

// sdbootOperations are the rows that only systemd-boot has, and what it adds to those of all loaders.
func sdbootOperations(table []operation) []operation {
	add := adder(table)
	add("upgrade", foreignDefault)
	add("confirm", onTrial.then("loader.conf destroyed", destroyConf), onTrial.then("LoaderEntryDefault set",
		setForeignDefault))
	table = append(table, byWay(sdboot.BootNext)...)
	table = append(table, kernels()...)
	return append(table, operation{
		name: "install on a machine with variables", long: true, starts: []start{{"empty disk", nil}}, end: changes,
		commit: "*", what: imageOf("1.1.0"),
		do: func(m *machine) error {
			return m.install("1.1.0", upgrade.InstallOptions{Vars: m.vars})
		},
	})
}

// armedBy is a machine with a trial of version 1.2.0 armed in another way than by a one-shot entry.
func armedBy(way sdboot.Way, tries int) start {
	return start{fmt.Sprintf("armed by %s with %d tries", way, tries), func(m *machine, _ bootloader.Slot) error {
		return m.upgrade("1.2.0", m.by(way, tries))
	}}
}

func (m *machine) by(way sdboot.Way, tries int) upgrade.Options {
	o := m.options(false)
	o.Way, o.Tries = string(way), tries
	return o
}

// byWay are the rows of a way to try.
func byWay(way sdboot.Way) []operation {
	tries := 1
	if way == sdboot.Counting {
		tries = 2
	}
	was := armedBy(way, tries)
	running := was.then("first try", tried(1))
	name := func(what string) string { return what + " by " + string(way) }
	rows := []operation{
		{name: name("upgrade"), long: true, starts: []start{targetEmpty, targetComplete, armed, was}, end: arms,
			commit: "arm", tries: tries, what: imageOf(next),
			do: func(m *machine) error { return m.upgrade(next, m.by(way, tries)) }},
		{name: name("disarm of a trial"), starts: []start{was}, end: stays, disarms: true, do: disarm},
		{name: name("confirm of a trial"), starts: []start{running}, end: changes, commit: "confirm", what: activeSlot,
			do: (*machine).confirm},
		{name: name("failed trial"), starts: []start{running}, end: stays, disarms: true, do: func(m *machine) error {
			m.disk.Step("failed")
			return m.failed("check disk: no space")
		}},
		{name: name("settle of a trial"), starts: []start{was.then("never started", boots(tries+1)),
			running.then("died", boots(tries))}, end: stays, do: startedStep},
	}
	for i := range rows {
		rows[i].byWay = true
	}
	return rows
}

// isKernel tells the versions that are a kernel and an initramfs, which systemd-boot starts from an entry with
// arguments.
func isKernel(version string) bool { return version == kernelNow || version == kernelNext }

const kernelNow, kernelNext = "1.1.9", "1.2.9"

// kernels are the rows in which such a version is the old one or the new one.
func kernels() []operation {
	running := start{"a kernel runs", func(m *machine, t bootloader.Slot) error { return m.moveTo(t, kernelNow) }}
	onTrial := start{"a kernel on trial", func(m *machine, t bootloader.Slot) error { return m.trial(t, kernelNext) }}
	return []operation{
		{name: "kernel: upgrade to one", starts: []start{targetEmpty, targetComplete, armed}, end: arms, commit: "arm",
			what: imageOf(kernelNext), do: upgradeTo(kernelNext)},
		{name: "kernel: upgrade of one", starts: []start{running}, end: arms, commit: "arm", what: imageOf(next),
			do: upgradeTo(next)},
		{name: "kernel: upgrade of one to one", long: true, starts: []start{running}, end: arms, commit: "arm",
			what: imageOf(kernelNext), do: upgradeTo(kernelNext)},
		{name: "kernel: confirm", starts: []start{onTrial}, end: changes, commit: "confirm", what: activeSlot,
			do: (*machine).confirm},
	}
}
