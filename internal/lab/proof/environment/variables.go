package environment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

const volatile = efivar.BootService | efivar.Runtime

// variables are disturbances of the firmware's variables.
func variables() []disturbance {
	return []disturbance{
		{"a variable of the loader set", 14, uefi, (*disturbed).loaderVariable},
		{"BootNext set", 4, uefi, (*disturbed).bootNext},
		{"BootOrder changed", 12, uefi, (*disturbed).bootOrder},
		{"a boot entry added", 12, uefi, (*disturbed).bootEntry},
		{"entries of ours that start nothing", 4, uefi, (*disturbed).deadEntries},
		{"a boot entry changed", 4, uefi, (*disturbed).editEntry},
		{"a variable that cannot be read", 6, uefi, (*disturbed).unreadable},
		{"a variable that cannot be changed", 6, uefi, (*disturbed).fixed},
		{"a variable cut short", 5, uefi, (*disturbed).cutShort},
		{"a variable gone", 4, uefi, (*disturbed).gone},
		{"the variable store full", 2, uefi, func(d *disturbed) (string, error) { d.vars.full = true; return "", nil }},
		{"the variable store read-only", 1, uefi, func(d *disturbed) (string,
			error) {
			d.vars.readOnly = true
			return "", nil
		}},
		{"firmware that does not use up what is to be booted once", 2, uefi,
			func(d *disturbed) (string, error) { d.keeps = true; return "", nil }},
	}
}

// set puts a variable where it is, whatever was there.
func (d *disturbed) set(n efivar.Name, attributes uint32, data []byte) error {
	if err := d.vars.Memory.Delete(n); err != nil || len(data) == 0 {
		return err
	}
	return d.vars.Memory.Write(n, efivar.Variable{Attributes: attributes, Data: data})
}

func entryID(s bootloader.Slot) string { return "pawl-" + strings.ToLower(string(s)) + ".conf" }

func (d *disturbed) loaderVariable() (string, error) {
	name := pick(d.Rand, "LoaderEntryDefault", "LoaderEntryDefault", "LoaderEntryDefault", "LoaderEntryOneShot",
		"LoaderEntryOneShot",
		"LoaderEntryPreferred", "LoaderEntryPreferred", "LoaderEntrySelected", "LoaderEntryLastBooted",
		"LoaderConfigTimeout", "LoaderConfigTimeoutOneShot", "LoaderEntrySysFail",
		"LoaderFeatures", "LoaderInfo", "LoaderImageIdentifier", "LoaderDevicePartUUID", "LoaderBootCountPath",
		"LoaderEntries", "LoaderSystemToken", "StubInfo", "LoaderConfigConsoleMode")
	id := entryID(d.anySlot())
	text := pick(d.Rand, id, id, id, entryID(d.anySlot()), strings.ToUpper(id), strings.TrimSuffix(id, ".conf"),
		"pawl-*", "*", "pawl-?.conf", "pawl-[ab].conf", "pawl-a*", "pawl-[]b].conf", "PAWL-[!a].*", "pawl-[a", "@saved",
		"@other", "auto-*", "auto-windows", "auto-efi-shell", "auto-reboot-to-firmware-setup", "arch.conf", id+"\n", "debian-6.1.conf", "linux.efi", id+" ", " "+id,
		"0", "10", "menu-force", "menu-hidden", "menu-disabled", "")
	if strings.HasPrefix(name, "LoaderConfigTimeout") {
		text = pick(d.Rand, "0", "5", "menu-force", "menu-hidden", "menu-disabled", "", text)
	}
	data := efivar.EncodeString(text)
	switch d.Intn(12) {
	case 0:
		data, text = data[:len(data)-2], text+" without its NUL" // may be empty
	case 1:
		data, text = data[:len(data)-1], text+" of an odd length"
	case 2:
		data = d.noise(1 + d.Intn(20))
		text = fmt.Sprintf("noise %x", data)
	case 3:
		data, text = []byte(text+"\x00"), text+" in bytes"
	}
	attributes := efivar.Kept
	if d.Intn(6) == 0 {
		attributes = pick(d.Rand, volatile, efivar.NonVolatile|efivar.BootService, efivar.Kept|0x20)
	}
	return fmt.Sprintf("%s = %q, attributes %#x", name, text, attributes), d.set(efivar.Loader(name), attributes, data)
}

// order is BootOrder.
func (d *disturbed) order() []uint16 {
	v, err := d.vars.Memory.Read(efivar.Global("BootOrder"))
	if err != nil {
		return nil
	}
	order, _ := efivar.DecodeNumbers(v.Data)
	return order
}

func (d *disturbed) setOrder(order []uint16) error {
	return d.set(efivar.Global("BootOrder"), efivar.Kept, efivar.EncodeNumbers(order...))
}

func (d *disturbed) bootNext() (string, error) {
	var numbers []uint16
	names, err := d.vars.List()
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if number, ok := n.BootNumber(); ok {
			numbers = append(numbers, number)
		}
	}
	numbers = append(numbers, 0x77) // there is none
	data := efivar.EncodeNumbers(pick(d.Rand, numbers...))
	switch d.Intn(8) {
	case 0:
		data = data[:1]
	case 1:
		data = append(data, 0)
	}
	return fmt.Sprintf("BootNext = %x", data), d.set(efivar.Global("BootNext"), efivar.Kept, data)
}

func (d *disturbed) bootOrder() (string, error) {
	order := d.order()
	if len(order) == 0 {
		return "", nil
	}
	how := d.Intn(9)
	switch how {
	case 0:
		slices.Reverse(order)
	case 1:
		order = append(order, order...)
	case 2:
		d.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	case 3:
		at := d.Intn(len(order))
		order = slices.Delete(order, at, at+1)
	case 4:
		order = nil
	case 5:
		data := append(efivar.EncodeNumbers(order...), 0)
		return fmt.Sprintf("BootOrder = %x, of an odd length", data), d.set(efivar.Global("BootOrder"), efivar.Kept,
			data)
	case 6:
		order = slices.Insert(order, 0, uint16(0x66+d.Intn(3))) // no such entry
	case 7:
		order = order[:1]
	case 8:
		order = append(order[1:], order[0])
	}
	return fmt.Sprintf("BootOrder = %04x", order), d.setOrder(order)
}

// bootEntry adds an entry in front, behind, or beside the order.
func (d *disturbed) bootEntry() (string, error) {
	drive, err := d.drive()
	if err != nil {
		return "", err
	}
	on := drive
	path := pick(d.Rand, `\EFI\BOOT\BOOTX64.EFI`, `\EFI\BOOT\BOOTX64.EFI`, `\EFI\boot\bootx64.efi`,
		`EFI\boot\bootx64.efi`, `/EFI/BOOT/BOOTX64.EFI`, `\efi\systemd\systemd-bootx64.efi`,
		`\EFI\Linux\linux.efi`, `\EFI\pawl\A\os.efi`, `\EFI\pawl\B\os.efi`, `\EFI\pawl\A\loader.efi`,
		`\EFI\pawl\B\loader.efi`, `\EFI\pawl\a\LOADER.EFI`, `\EFI\vendor\tool.efi`, `\EFI\gone\gone.efi`,
		`\EFI\debian\shimx64.efi`)
	form := pick(d.Rand, "partition and file", "partition and file", "partition and file", "file alone",
		"partition alone", "partition of another disk", "other number", "device", "network",
		"hardware, partition and file")
	title := pick(d.Rand, "Pawl", "Pawl (start 2)", "Pawl", "Linux Boot Manager", "debian", "UEFI OS", "",
		"Pawl, slot A once")
	o := efivar.LoadOption{Attributes: pick(d.Rand, efivar.Active, efivar.Active, efivar.Active, efivar.Active, 0,
		efivar.Active|efivar.Hidden, efivar.Active|efivar.CategoryApp), Description: title}
	hardware := []efivar.Node{{Type: 2, Subtype: 1, Data: []byte("\xd0\x41\x03\x0a\x00\x00\x00\x00")},
		{Type: 1, Subtype: 1, Data: []byte("\x00\x03")}}
	switch form {
	case "file alone":
		o.Path = []efivar.Node{efivar.FilePath(path)}
	case "partition alone":
		o.Path = []efivar.Node{on.Node()}
	case "partition of another disk":
		on.GUID[3] ^= 0x55
		o.Path = []efivar.Node{on.Node(), efivar.FilePath(path)}
	case "other number":
		on.Number += 3
		o.Path = []efivar.Node{on.Node(), efivar.FilePath(path)}
	case "device":
		o.Path = hardware
	case "network":
		o.Path = append(hardware, efivar.Node{Type: 3, Subtype: 11, Data: d.noise(33)})
	case "hardware, partition and file":
		o.Path = append(hardware, on.Node(), efivar.FilePath(path))
	default:
		o.Path = []efivar.Node{on.Node(), efivar.FilePath(path)}
	}
	o.Path = append(o.Path, efivar.End())
	if d.Intn(5) == 0 {
		o.Optional = d.noise(8)
	}
	data, err := o.Encode()
	if err != nil {
		return "", err
	}
	order := d.order()
	n := uint16(d.Intn(0x60))
	for slices.Contains(order, n) {
		n++
	}
	where := pick(d.Rand, "first", "first", "second", "last", "not in BootOrder")
	switch {
	case where == "first", where == "second" && len(order) == 0:
		order = slices.Insert(order, 0, n)
	case where == "second":
		order = slices.Insert(order, 1, n)
	case where == "last":
		order = append(order, n)
	}
	if err := d.set(efivar.Boot(n), efivar.Kept, data); err != nil {
		return "", err
	}
	return fmt.Sprintf("Boot%04X %q, %s, %s, attributes %#x: %s; BootOrder %04x", n, title, form, where, o.Attributes,
		path, order), d.setOrder(order)
}

// deadEntries are those of disks that were here before: the same names, and partitions that are gone.
func (d *disturbed) deadEntries() (string, error) {
	drive, err := d.drive()
	if err != nil {
		return "", err
	}
	order, first := d.order(), d.Intn(2) == 0
	n := pick(d.Rand, 1, 2, 10)
	for i := range n {
		number := uint16(0x20)
		for slices.Contains(order, number) {
			number++
		}
		drive.GUID[5]++
		data, err := efivar.LoadOption{
			Attributes: efivar.Active, Description: pick(d.Rand, "Pawl", "Pawl (start 2)"),
			Path: []efivar.Node{drive.Node(), efivar.FilePath(`\EFI\BOOT\BOOTX64.EFI`), efivar.End()},
		}.Encode()
		if err != nil {
			return "", err
		}
		if err := d.set(efivar.Boot(number), efivar.Kept, data); err != nil {
			return "", err
		}
		if order = append(order, number); first {
			order = slices.Insert(order[:len(order)-1], i, number)
		}
	}
	return fmt.Sprintf("%d of them; BootOrder %04x", n, order), d.setOrder(order)
}

// editEntry changes an entry that is there.
func (d *disturbed) editEntry() (string, error) {
	order := d.order()
	if len(order) == 0 {
		return "", nil
	}
	name := efivar.Boot(pick(d.Rand, order...))
	v, err := d.vars.Memory.Read(name)
	if err != nil {
		return "", nil
	}
	o, err := efivar.DecodeLoadOption(v.Data)
	if err != nil {
		return "", nil
	}
	how := ""
	switch d.Intn(5) {
	case 0:
		o.Attributes ^= efivar.Active
		how = "made inactive, or active"
	case 1:
		o.Attributes |= efivar.CategoryApp
		how = "made an application"
	case 2:
		o.Description = "renamed"
		how = "renamed"
	case 3:
		o.Optional = d.noise(8)
		how = "given data"
	case 4:
		for i, node := range o.Path {
			if path, ok := node.FilePath(); ok {
				o.Path[i] = efivar.FilePath(strings.ToLower(path))
				how = "path in lower case"
			}
		}
	}
	data, err := o.Encode()
	if err != nil {
		return "", nil
	}
	return name.Name + " " + how, d.set(name, v.Attributes, data)
}

// anyVariable is one that is there.
func (d *disturbed) anyVariable() (efivar.Name, bool) {
	names, err := d.vars.List()
	if err != nil || len(names) == 0 {
		return efivar.Name{}, false
	}
	return pick(d.Rand, names...), true
}

func (d *disturbed) unreadable() (string, error) {
	n, ok := d.anyVariable()
	if !ok {
		return "", nil
	}
	if d.Intn(4) == 0 { // one that matters to nobody here
		n = pick(d.Rand, efivar.Boot(2), efivar.Loader("LoaderTimeMenuUSec"), efivar.Global("Key0000"))
		if _, err := d.vars.Memory.Read(n); err != nil {
			if err := d.set(n, efivar.Kept, d.noise(9)); err != nil {
				return "", err
			}
		}
	}
	unreadable := map[efivar.Name]bool{n: true}
	for name := range d.vars.unreadable {
		unreadable[name] = true
	}
	d.vars.unreadable = unreadable
	return n.Name, nil
}

// fixed is a variable that firmware does not let be changed or deleted, or says that it was and keeps it. What is used
// up by a boot is no matter of that.
func (d *disturbed) fixed() (string, error) {
	n, ok := d.anyVariable()
	if !ok {
		return "", nil
	}
	if d.Intn(2) == 0 {
		n = pick(d.Rand, efivar.Loader("LoaderEntryOneShot"), efivar.Global("BootNext"), efivar.Global("BootOrder"),
			efivar.Loader("LoaderEntryDefault"), efivar.Loader("LoaderEntryPreferred"))
	}
	lies := d.Intn(2) == 0
	fixed := maps.Clone(d.vars.fixed)
	if fixed == nil {
		fixed = map[efivar.Name]bool{}
	}
	fixed[n], d.vars.fixed = lies, fixed
	return fmt.Sprintf("%s, told %v", n.Name, !lies), nil
}

func (d *disturbed) cutShort() (string, error) {
	n, ok := d.anyVariable()
	if !ok {
		return "", nil
	}
	v, err := d.vars.Memory.Read(n)
	if err != nil {
		return "", err
	}
	size := min(len(v.Data), pick(d.Rand, 1, 3, 5))
	return fmt.Sprintf("%s has %d bytes", n.Name, size), d.set(n, v.Attributes, v.Data[:size])
}

func (d *disturbed) gone() (string, error) {
	n, ok := d.anyVariable()
	if !ok {
		return "", nil
	}
	return n.Name, d.vars.Memory.Delete(n)
}
