package grub

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/grubenv"
)

// blockSize is the length of every file that is overwritten in place, and of trial.env.
const blockSize = 512

// MaxTries is how far grub.cfg can count.
const MaxTries = 9

const (
	configPath = "grub/grub.cfg"
	trialPath  = "grub/trial.env"
)

func defaultPath(copy int) string { return fmt.Sprintf("grub/default.%d.env", copy) }

func switchPath(s bootloader.Slot) string { return fmt.Sprintf("grub/%s.cfg", string(s)) }

// nobody stands for no slot in a block.
const nobody = "none"

func slotName(s bootloader.Slot) string {
	if s == bootloader.None {
		return nobody
	}
	return string(s)
}

func parseSlotName(name string) (bootloader.Slot, bool) {
	for _, s := range []bootloader.Slot{bootloader.None, bootloader.A, bootloader.B} {
		if name == slotName(s) {
			return s, true
		}
	}
	return bootloader.None, false
}

// standing is one copy of the default. Its block begins with the serial and ends with both again, with a comment
// between them that fills it: a block of which only a part arrived does not agree with itself.
//
//	# GRUB Environment Block
//	serial0=7
//	slot0=A
//	#########...
//	check0=7.A
type standing struct {
	serial int // higher is newer
	slot   bootloader.Slot
	valid  bool
}

// maxSerial keeps what GRUB compares as numbers within what every build of it can hold. It is never reached.
const maxSerial = 1<<31 - 2

func encodeStanding(copy int, d standing) []byte {
	head := fmt.Appendf([]byte(grubenv.Signature), "serial%d=%d\nslot%d=%s\n", copy, d.serial, copy, slotName(d.slot))
	tail := fmt.Appendf(nil, "\ncheck%d=%d.%s\n", copy, d.serial, slotName(d.slot))
	filler := bytes.Repeat([]byte{'#'}, blockSize-len(head)-len(tail))
	return append(append(head, filler...), tail...)
}

// decodeStanding judges a copy as grub.cfg does.
func decodeStanding(copy int, data []byte) standing {
	values, ok := scan(data)
	if !ok {
		return standing{}
	}
	lookup := func(name string) string { return values[fmt.Sprintf("%s%d", name, copy)] }
	serial, slot := lookup("serial"), lookup("slot")
	n, err := strconv.Atoi(serial)
	s, known := parseSlotName(slot)
	if err != nil || n < 1 || n > maxSerial || !known || lookup("check") != serial+"."+slot {
		return standing{}
	}
	return standing{n, s, true}
}

// scan reads a block as GRUB does. One that was torn may hold anything, and what GRUB makes of it is what counts.
func scan(data []byte) (values map[string]string, ok bool) {
	vars, err := grubenv.Scan(data)
	if err != nil || len(data) != blockSize {
		return nil, false
	}
	values = map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value
	}
	return values, true
}

// trial is what trial.env holds.
type trial struct {
	slot   bootloader.Slot // None when none was ever armed, or it was disarmed
	tries  int             // left; 0 when they are used up
	canary string          // "0" or "1": GRUB turns it over at each boot
	valid  bool
}

func encodeTrial(t trial) []byte {
	b := grubenv.New(blockSize)
	for _, v := range []grubenv.Variable{
		{Name: "trial", Value: slotName(t.slot)}, {Name: "tries", Value: strconv.Itoa(t.tries)},
		{Name: "canary", Value: t.canary},
	} {
		if err := b.Set(v.Name, v.Value); err != nil {
			panic(err) // three short values fit
		}
	}
	return b
}

// decodeTrial judges the block as grub.cfg does: what it does not know names no slot, or no tries.
func decodeTrial(data []byte) trial {
	values, ok := scan(data)
	if !ok || values["trial"] == "" || values["tries"] == "" || values["canary"] == "" {
		return trial{canary: "0"}
	}
	t := trial{valid: true, canary: "0"}
	t.slot, _ = parseSlotName(values["trial"])
	if n, err := strconv.Atoi(values["tries"]); err == nil && n >= 0 && n <= MaxTries &&
		strconv.Itoa(n) == values["tries"] {
		t.tries = n
	}
	if values["canary"] == "1" {
		t.canary = "1"
	}
	return t
}

// encodeSwitch is the block that says whether a slot may boot: one that was torn has only one of the two lines.
func encodeSwitch(s bootloader.Slot, on bool) []byte {
	if !on {
		return bytes.Repeat([]byte{'\n'}, blockSize)
	}
	head, tail := fmt.Appendf(nil, "set held=%s\n", string(s)), fmt.Appendf(nil, "\nset whole=%s\n", string(s))
	return append(append(head, bytes.Repeat([]byte{'\n'}, blockSize-len(head)-len(tail))...), tail...)
}

// decodeSwitch judges the block as GRUB does when it runs it: between the two lines it passes over what is no command.
// damaged is anything that we did not write.
func decodeSwitch(s bootloader.Slot, data []byte) (on, damaged bool) {
	whole := encodeSwitch(s, true)
	if bytes.Equal(data, whole) {
		return true, false
	}
	if data == nil || bytes.Equal(data, encodeSwitch(s, false)) {
		return false, false
	}
	lines := bytes.TrimRight(whole, "\n")
	head, tail := bytes.IndexByte(lines, '\n')+1, len(whole)-bytes.LastIndexByte(lines, '\n')
	on = len(data) == len(whole) && bytes.Equal(data[:head], whole[:head]) && bytes.Equal(data[len(data)-tail:],
		whole[len(whole)-tail:]) &&
		!bytes.ContainsAny(data[head:len(data)-tail], syntax)
	return on, true
}

// syntax is what may join or end lines of a script, or be a command.
const syntax = "\x00\"'\\{}()[]$;&|<>!=0123456789abcdefghijklmnopqrstuvwxyz"
