package proof

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// What is GRUB's own: its blocks on the boot file system, and states that it leaves.

const (
	trialBlock    = "grub/trial.env"
	environment   = "# GRUB Environment Block\n"
	defaultBlocks = "grub/default.%d.env"
)

func defaultBlock(n int) string { return fmt.Sprintf(defaultBlocks, n) }

// counted reads trial.env, a sector at an offset of the disk: which slot is set to be tried, and how often. It is None
// where nothing is, or nothing can be read.
func (m *machine) counted(at int64) (s bootloader.Slot, tries int) {
	b := make([]byte, 512)
	if _, err := m.disk.ReadAt(b, at); err != nil || at == 0 {
		return bootloader.None, 0
	}
	text, ok := strings.CutPrefix(string(b), environment)
	if !ok {
		return bootloader.None, 0
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(line, "="); found && strings.HasSuffix(value, "\n") && line[0] != '#' {
			values[name] = strings.TrimSuffix(value, "\n")
		}
	}
	tries, err := strconv.Atoi(values["tries"])
	s, bad := bootloader.ParseSlot(values["trial"])
	if err != nil || bad != nil || tries < 1 || tries > 9 || strconv.Itoa(tries) != values["tries"] ||
		string(s) != values["trial"] {
		return bootloader.None, 0
	}
	return s, tries
}

// dead boots a slot that dies before it says a word: nothing that the loader wrote is flushed.
func dead(n int) func(*machine, bootloader.Slot) error { return boots(n) }

// destroys overwrites a file of one sector with what no cut of a write leaves behind but garbage.
func destroys(path string) func(*machine, bootloader.Slot) error {
	return func(m *machine, _ bootloader.Slot) error { return m.destroy(path) }
}

// spoils makes a file of one sector unreadable.
func spoils(path string) func(*machine, bootloader.Slot) error {
	return func(m *machine, _ bootloader.Slot) error {
		at, err := m.sector(path)
		if err != nil {
			return err
		}
		m.disk.Spoil(at, 512)
		m.bad = true
		return nil
	}
}

// starts that only GRUB has.
var (
	copyDestroyed = []start{
		targetComplete.then("first copy of the default destroyed", destroys(defaultBlock(0))),
		targetComplete.then("second copy of the default destroyed", destroys(defaultBlock(1))),
		targetComplete.then("a copy of the default unreadable", spoils(defaultBlock(0))),
	}
	trialDestroyed = targetComplete.then("trial.env destroyed", destroys(trialBlock)).then("booted", boots(1))
	deadOfThree    = armedFor(3).then("one died", dead(1))
)

// bootItself is the loader's own part of a boot, up to where the system would begin: what it writes is not flushed.
func bootItself() operation {
	return operation{name: "boot", end: stays, firmware: true, starts: []start{
		targetComplete,
		armed,
		armedFor(3),
		deadOfThree,
		armedFor(3).then("two died", dead(2)),
		armedFor(3).then("all died", dead(3)),
		trialOfThree,
		armedFor(9),
		onTrial,
		onTrial.then("confirmed", func(m *machine, _ bootloader.Slot) error { return m.confirm() }),
		armed.then("its initramfs is gone", func(m *machine, t bootloader.Slot) error {
			f, err := m.fs(slotZones...)
			if err != nil {
				return err
			}
			return f.Remove(t.File(bootloader.InitrdFile))
		}),
		armed.then("first copy of the default destroyed", destroys(defaultBlock(0))),
		armed.then("second copy of the default unreadable", spoils(defaultBlock(1))),
		targetComplete.then("trial.env destroyed", destroys(trialBlock)),
		armed.then("trial.env unreadable", spoils(trialBlock)),
	}, do: func(m *machine) error {
		m.disk.Step(bootStep)
		return m.boot()
	}}
}

// grubOperations are the rows that only GRUB has, and what it adds to those of all loaders.
func grubOperations(table []operation) []operation {
	add := adder(table)
	add("upgrade", append(copyDestroyed[:len(copyDestroyed):len(copyDestroyed)], trialDestroyed)...)
	add("prepare", append(copyDestroyed[:1:1], trialDestroyed)...)
	add("rollback", copyDestroyed[1], trialDestroyed)
	add("disarm", armed.then("trial.env destroyed", destroys(trialBlock)))
	add("started, with wipe", armedFor(3).then("first try begins", dead(1)), deadOfThree.then("second try begins",
		dead(1)))
	confirms := []start{onTrial.then("trial.env destroyed", destroys(trialBlock))}
	for _, path := range []string{defaultBlock(0), defaultBlock(1)} {
		confirms = append(confirms, onTrial.then(path+" destroyed", destroys(path)), onTrial.then(path+" unreadable",
			spoils(path)))
	}
	add("confirm", confirms...)
	return append(table,
		operation{name: "confirm of the default", starts: copyDestroyed, end: stays, do: (*machine).confirm},
		bootItself(),
	)
}
