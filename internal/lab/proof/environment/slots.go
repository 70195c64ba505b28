package environment

import (
	"fmt"
)

func (d *disturbed) strayFile() (string, error) {
	dir := d.anySlot().Dir() + pick(d.Rand, "", "", "/sub")
	name := dir + "/" + pick(d.Rand, "notes.txt", "vmlinuz", "cmdline", "initrd", "os.efi.bak", "loader.efi",
		"manifest.json~", "OS~1.EFI")
	f, err := d.files()
	if err != nil || exists(f, name) {
		return "", err
	}
	return name, put(f, name, d.noise(pick(d.Rand, 10, 600, 9000)))
}

// slotDamaged overwrites a sector of a slot's directory, found by the names in it.
func (d *disturbed) slotDamaged() (string, error) {
	s := d.anySlot()
	f, err := d.files()
	if err != nil {
		return "", err
	}
	info, err := f.Stat(s.Dir())
	if err != nil || !info.Dir {
		return "", nil
	}
	dev, err := d.part("EFI")
	if err != nil {
		return "", err
	}
	at, err := clusterOf(dev, s.Dir())
	if err != nil {
		return "", nil
	}
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, at); err != nil {
		return "", err
	}
	what := ""
	switch d.Intn(4) {
	case 0:
		copy(b, d.noise(512))
		what = "noise"
	case 1:
		copy(b[64:], d.noise(512-64))
		what = "noise behind dot and dotdot"
	case 2:
		clear(b)
		what = "zeros"
	case 3:
		b[64+d.Intn(512-64)] ^= 1 << d.Intn(8)
		what = "a bit"
	}
	_, err = dev.WriteAt(b, at)
	return s.Dir() + ": " + what, err
}

func (d *disturbed) slotCopied() (string, error) {
	from := d.anySlot()
	f, err := d.files()
	if err != nil {
		return "", err
	}
	files, err := f.ReadDir(from.Dir())
	if err != nil {
		return "", nil
	}
	for _, i := range files {
		if i.Dir {
			continue
		}
		data, err := f.ReadFile(from.File(i.Name))
		if err != nil {
			return "", err
		}
		if err := put(f, from.Other().File(i.Name), data); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%v over %v", from, from.Other()), nil
}
