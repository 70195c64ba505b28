package predict

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// What OVMF keeps in its own flash, by the GUID of the file, as it lies in the node: its setup and its shell.
var (
	firmwareVolume = efivar.Node{Type: 4, Subtype: 7,
		Data: []byte("\xc9\xbd\xb8\x7c\xeb\xf8\x34\x4f\xaa\xea\x3e\xe4\xaf\x65\x16\xa1")}
	setupFile = efivar.Node{Type: 4, Subtype: 6,
		Data: []byte("\x21\xaa\x2c\x46\x14\x76\x03\x45\x83\x6e\x8a\xb6\xf4\x66\x23\x31")}
	shellFile = efivar.Node{Type: 4, Subtype: 6,
		Data: []byte("\x83\xa5\x04\x7c\x3e\x9e\x1c\x4f\xad\x65\xe0\x52\x68\xd0\xb4\xd1")}
	pciRoot = efivar.Node{Type: 2, Subtype: 1, Data: []byte("\xd0\x41\x03\x0a\x00\x00\x00\x00")}
	pciDisk = efivar.Node{Type: 1, Subtype: 1, Data: []byte("\x00\x02")}
	// autoCreated marks the options that OVMF makes for devices that it finds.
	autoCreated = []byte("\x4e\xac\x08\x81\x11\x9f\x59\x4d\x85\x0e\xe2\x1a\x52\x2c\x59\xb2")
)

// refresh does what OVMF does before it boots: options for its setup, for the disk and for its shell that are not in
// BootOrder are made and appended.
func (b *boot) refresh() {
	options := []efivar.LoadOption{
		{Attributes: efivar.Active | efivar.Hidden | efivar.CategoryApp, Description: "UiApp",
			Path: []efivar.Node{firmwareVolume, setupFile, efivar.End()}},
		{Attributes: efivar.Active, Description: "UEFI Misc Device", Path: []efivar.Node{pciRoot, pciDisk,
			efivar.End()}, Optional: autoCreated},
		{Attributes: efivar.Active, Description: "EFI Internal Shell", Path: []efivar.Node{firmwareVolume, shellFile,
			efivar.End()}},
	}
	if b.o.NoShell {
		options = options[:2]
	}
	order := b.order()
	have := map[int]bool{}
	for _, n := range order {
		o, err := b.option(n)
		if err != nil {
			continue
		}
		for i, want := range options {
			if samePath(o, want) || i == 1 && bytes.Equal(o.Optional, autoCreated) && isDisk(o) {
				have[i] = true
			}
		}
	}
	changed := false
	for i, want := range options {
		if have[i] {
			continue
		}
		// OVMF takes the lowest number that is not in BootOrder, whatever variable may have it (seen).
		n := uint16(0)
		for slices.Contains(order, n) {
			n++
		}
		data, err := want.Encode()
		if err != nil {
			panic(err)
		}
		b.delete(efivar.Boot(n))
		b.set(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data})
		order = append(order, n)
		changed = true
	}
	if changed {
		b.set(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
			Data: efivar.EncodeNumbers(order...)})
	}
}

func samePath(a, b efivar.LoadOption) bool {
	return slices.EqualFunc(a.First(), b.First(), func(x, y efivar.Node) bool {
		return x.Type == y.Type && x.Subtype == y.Subtype && bytes.Equal(x.Data, y.Data)
	})
}

// isDisk reports whether an option names a device, and one that may be the disk: the model has one disk, and takes what
// is neither a network card nor named as an optical drive for it.
func isDisk(o efivar.LoadOption) bool {
	if strings.Contains(o.Description, "DVD") || strings.Contains(o.Description, "CD-ROM") || len(o.First()) == 0 {
		return false
	}
	for _, n := range o.First() {
		switch {
		case n.Type == 1, n.Type == 2: // hardware, ACPI
		case n.Type == 3 && !slices.Contains([]byte{11, 12, 13, 24}, n.Subtype): // messaging, but MAC, IPv4, IPv6, URI
		default:
			return false
		}
	}
	return o.First()[0].Type == 2
}

// firmware walks BootNext and BootOrder. nil means that something runs.
func (b *boot) firmware() error {
	next := efivar.Global("BootNext")
	if v, ok := b.read(next); ok {
		// What is no number is passed over, and stays. The option that it names is started even when it is inactive
		// (seen).
		if n, err := efivar.DecodeNumber(v.Data); err == nil {
			b.delete(next)
			o, err := b.reached(n)
			b.because("BootNext names %s; used up by this boot.", optionName(n, o))
			if err == nil {
				done, err := b.try(n, o)
				if done || err != nil {
					b.out.Trial = b.out.Trial || !b.followed // a loader decides by itself
					return err
				}
			} else {
				b.because("It is not there, so the firmware goes on with BootOrder.")
			}
		}
	}
	for _, n := range b.order() {
		o, err := b.reached(n)
		if b.unread != nil {
			return b.unread
		}
		if err != nil || !o.Tried() {
			continue
		}
		if done, err := b.try(n, o); done || err != nil {
			return err
		}
	}
	return errors.New("the firmware has no boot option left and shows its setup")
}

// try starts one option. done is false when the firmware goes on with the next one; an error ends the boot.
func (b *boot) try(n uint16, o efivar.LoadOption) (done bool, err error) {
	b.setVolatile(efivar.Global("BootCurrent"), efivar.EncodeNumbers(n))
	b.followed, b.shim, b.optional = false, nil, o.Optional
	err = b.startOption(o)
	b.log("Boot%04X %q: %v", n, o.Description, err)
	var stays errMenu
	b.explainOption(n, o, err)
	if err == nil || errors.As(err, &stays) || errors.Is(err, ErrNotModelled) || errors.Is(err, errReset) {
		return err == nil, err
	}
	b.out.Path, b.out.Slot, b.out.Digest = "", "", ""
	return false, nil
}

func (b *boot) startOption(o efivar.LoadOption) error {
	v, path, err := b.find(o)
	if err != nil {
		return err
	}
	return b.start(v, path)
}

// find is the file that an option starts. An errMenu is where the firmware stays instead.
func (b *boot) find(o efivar.LoadOption) (*volume, string, error) {
	nodes := o.First()
	if len(nodes) == 2 && nodes[1].Type == 4 && nodes[1].Subtype == 6 {
		if bytes.Equal(nodes[1].Data, shellFile.Data) {
			return nil, "", errMenu("the firmware ends in its shell")
		}
		return nil, "", errMenu("the firmware shows its setup")
	}
	if isDisk(o) {
		return b.findRemovable(b.parts)
	}
	drive, path, _, ok := o.Target()
	if ok && drive == (efivar.HardDrive{}) { // the firmware looks on every volume; the model has one disk
		for _, p := range b.parts {
			if v := b.volume(p); v != nil {
				if _, err := v.open(path); err == nil {
					return v, path, nil
				}
			}
		}
		return nil, "", fmt.Errorf("no volume has %s", cleanPath(path))
	}
	if ok {
		at := slices.IndexFunc(b.parts, func(p partition) bool {
			return p.drive.GUID == drive.GUID && p.drive.Number == drive.Number
		})
		if at < 0 {
			return nil, "", fmt.Errorf("no partition %d with GUID %v", drive.Number, drive.GUID)
		}
		if path == "" {
			return b.findRemovable(b.parts[at : at+1])
		}
		v := b.volume(b.parts[at])
		if v == nil {
			return nil, "", errors.New("no file system there")
		}
		return v, path, nil
	}
	return nil, "", errors.New("it names another device, which is taken to hold nothing that starts")
}

// findRemovable is the loader at the path for removable media, on the first partition that has the file.
func (b *boot) findRemovable(parts []partition) (*volume, string, error) {
	for _, p := range parts {
		v := b.volume(p)
		if v == nil {
			continue
		}
		if _, err := v.open(b.machine().Removable()); err == nil {
			return v, b.machine().Removable(), nil
		}
	}
	return nil, "", fmt.Errorf("no %s on the disk", b.machine().Removable())
}

// read reads a variable that decides. One that is there and cannot be read ends the boot as one that is not modelled.
func (b *boot) read(name efivar.Name) (efivar.Variable, bool) {
	v, err := b.vars.Read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && b.unread == nil {
		b.unread = fmt.Errorf("%w: %w", err, ErrNotModelled)
	}
	return v, err == nil
}

// order is BootOrder; an odd byte at its end is passed over.
func (b *boot) order() []uint16 {
	v, ok := b.read(efivar.Global("BootOrder"))
	if !ok {
		return nil
	}
	order, err := efivar.DecodeNumbers(v.Data[:len(v.Data)&^1])
	if err != nil {
		return nil
	}
	return order
}

func (b *boot) option(n uint16) (efivar.LoadOption, error) {
	v, err := b.vars.Read(efivar.Boot(n))
	if err != nil {
		return efivar.LoadOption{}, err
	}
	return efivar.DecodeLoadOption(v.Data)
}

// reached is option for one whose turn has come.
func (b *boot) reached(n uint16) (efivar.LoadOption, error) {
	b.read(efivar.Boot(n))
	return b.option(n)
}

// The model's own writes always fit.

func (b *boot) setVolatile(name efivar.Name, data []byte) {
	b.set(name, efivar.Variable{Attributes: efivar.BootService | efivar.Runtime, Data: data})
}

func (b *boot) set(name efivar.Name, v efivar.Variable) {
	if err := b.vars.Write(name, v); err != nil {
		b.log("%v", err)
	}
}

func (b *boot) delete(name efivar.Name) {
	// As in firmware, who deletes must name the attributes; systemd-boot names these, and a variable with others stays.
	if v, err := b.vars.Read(name); err == nil && v.Attributes != efivar.Kept &&
		v.Attributes != efivar.BootService|efivar.Runtime {
		b.log("%s has attributes %#x and stays", name.Name, v.Attributes)
		return
	}
	if err := b.vars.Delete(name); err != nil {
		b.log("%v", err)
	}
}
