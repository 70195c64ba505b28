package proof

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// Trials of more than one boot. GRUB counts them by itself; with systemd-boot each boot arms the next.

func armedFor(tries int) start {
	return start{fmt.Sprintf("armed with %d tries", tries), func(m *machine, _ bootloader.Slot) error {
		o := m.options(false)
		o.Tries = tries
		return m.upgrade("1.2.0", o)
	}}
}

// tried boots a slot that says that it started, n times.
func tried(n int) func(*machine, bootloader.Slot) error {
	return func(m *machine, t bootloader.Slot) error {
		for range n {
			if err := m.next(t); err != nil {
				return err
			}
		}
		return nil
	}
}

// starts in the middle of such trials.
var (
	trialOfThree  = armedFor(3).then("first try", tried(1))
	secondOfThree = armedFor(3).then("second try", tried(2))
)

// withTries adds to the table what trials of three boots do.
func withTries(table []operation) []operation {
	add := adder(table)
	add("upgrade", armedFor(3))
	add("disarm", armedFor(3))
	add("rollback of an armed upgrade", armedFor(3))
	add("rollback of a trial", trialOfThree, secondOfThree)
	add("failed", trialOfThree)
	add("settle", armedFor(3).then("never started", boots(4)), trialOfThree.then("died", boots(3)))
	add("confirm", trialOfThree, secondOfThree)
	return append(table, operation{
		name: "upgrade with 3 tries", starts: []start{targetEmpty, targetComplete, armed}, end: arms, commit: "arm",
		tries: 3, what: imageOf(next),
		do: func(m *machine) error {
			o := m.options(false)
			o.Tries = 3
			return m.upgrade(next, o)
		},
	})
}

// adder returns a function that gives a row more starts.
func adder(table []operation) func(name string, starts ...start) {
	return func(name string, starts ...start) {
		for i := range table {
			if table[i].name == name {
				table[i].starts = append(table[i].starts, starts...)
			}
		}
	}
}
