package predict

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/partition/device"
)

func (b *boot) run() (Outcome, error) {
	if err := b.o.known(); err != nil {
		return Outcome{}, err
	}
	for range maxResets {
		again, err := b.powerOn()
		if !again {
			return b.out, err
		}
	}
	b.stuck("the machine restarts for ever")
	return b.out, nil
}

// maxResets is more than any count of tries.
const maxResets = 20

// powerOn runs firmware and loader once. again is true when the machine restarts by itself.
func (b *boot) powerOn() (again bool, err error) {
	defer b.forget()
	if err := b.reset(); err != nil {
		return false, err
	}
	read := readGPT
	if b.o.BIOS {
		read = readGRUB
	}
	b.parts, b.noTable = read(b.disk)
	if errors.Is(b.noTable, ErrNotModelled) {
		return false, b.noTable
	}
	if b.noTable != nil {
		b.log("%v", b.noTable)
		b.because("No partitions are found: %v.", b.noTable)
	}
	if slices.ContainsFunc(b.parts, func(p partition) bool { return p.typ == xbootldr }) {
		return false, fmt.Errorf("an extended boot loader partition: %w", ErrNotModelled)
	}
	if b.o.BIOS {
		err = b.bios()
	} else {
		b.refresh()
		err = b.firmware()
	}
	switch {
	case errors.Is(err, ErrNotModelled), b.unread != nil:
		b.out = Outcome{}
		return false, cmp.Or(err, b.unread)
	case errors.Is(err, errReset):
		b.log("the machine restarts")
		b.because("The machine restarts.")
		return true, nil
	case err != nil:
		b.stuck(err.Error())
	}
	return false, nil
}

// reset drops the volatile variables, but for those that are switched in the firmware's setup alone, and those that a
// shim makes anew. OVMF says that it can be told to show its setup; a BIOS has none.
func (b *boot) reset() error {
	names, err := b.vars.List()
	if err != nil {
		return err
	}
	kept := map[efivar.Name]efivar.Variable{}
	if !b.o.BIOS {
		kept[efivar.Global("OsIndicationsSupported")] = efivar.Variable{
			Attributes: efivar.BootService | efivar.Runtime, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}}
	}
	for _, name := range names {
		if v, err := b.vars.Read(name); err == nil && (secureboot.Switches(name) ||
			name == efivar.Global("OsIndicationsSupported")) {
			kept[name] = v
		}
	}
	b.vars.Reset()
	for name, v := range kept {
		b.set(name, v)
	}
	b.trusts = secureboot.Read(b.vars)
	return nil
}

func (b *boot) stuck(why string) {
	b.out = Outcome{Starts: b.out.Starts, Log: b.out.Log, Why: b.out.Why, Unsure: b.out.Unsure, Stuck: why}
}

func newBoot(disk device.Reader, vars *efivar.Memory, o Options) *boot {
	if o.Verdicts == nil {
		o.Verdicts = new(Verdicts)
	}
	return &boot{disk: disk, vars: vars, o: o, explain: o.Explain}
}

type boot struct {
	disk     device.Reader
	vars     *efivar.Memory
	o        Options
	parts    []partition
	noTable  error             // why there are none
	volumes  map[int64]*volume // by the partition's start; nil where firmware finds no file system
	explain  bool              // fill Outcome.Why
	unread   error             // a variable that decides and cannot be read
	followed bool              // the boot option that is tried has started a loader
	trusts   secureboot.Firmware
	optional []byte           // what the boot option that is tried tells the program
	shim     *secureboot.Shim // through which what is started now was started; nil for none
	out      Outcome
}

func (b *boot) log(format string, args ...any) {
	if b.o.Trace {
		b.out.Log = append(b.out.Log, fmt.Sprintf(format, args...))
	}
}

// machine is the machine's architecture: the usual one where none is named.
func (b *boot) machine() arch.Arch {
	a, err := arch.Named(b.o.Arch)
	if err != nil { // none is named: known has looked
		return arch.Usual()
	}
	return a
}

// volume opens the file system of a partition, once a boot.
func (b *boot) volume(p partition) *volume {
	if v, ok := b.volumes[p.start]; ok {
		return v
	}
	v, err := openVolume(b.disk, p, b.o.SectorReads)
	if err != nil {
		b.log("partition %d: %v", p.drive.Number, err)
		if !errors.Is(err, errNoFAT) {
			b.because("The firmware finds no file system in partition %d: %v.", p.drive.Number, err)
		}
	}
	if b.volumes == nil {
		b.volumes = map[int64]*volume{}
	}
	b.volumes[p.start] = v
	return v
}

// forget closes all volumes.
func (b *boot) forget() {
	for _, v := range b.volumes {
		if v != nil {
			v.forget()
		}
	}
	b.volumes = nil
}
