package environment

import (
	"bytes"
	"fmt"
)

func (d *disturbed) grubBlock() (string, error) {
	path := pick(d.Rand, "grub/trial.env", "grub/default.0.env", "grub/default.1.env", "grub/A.cfg", "grub/B.cfg")
	f, err := d.files()
	if err != nil {
		return "", err
	}
	old, err := f.ReadFile(path)
	if err != nil {
		return "", nil
	}
	const signature = "# GRUB Environment Block\n"
	data, what := bytes.Clone(old), ""
	switch d.Intn(8) {
	case 0:
		data, what = d.noise(512), "noise"
	case 1:
		data, what = bytes.Repeat([]byte("\n"), 512), "emptied"
	case 2:
		data, what = padded([]byte(signature+"saved_entry=0\n"), '#'), "of another program"
	case 3:
		s := d.anySlot()
		data, what = padded([]byte(fmt.Sprintf("%strial=%v\ntries=%d\n", signature, s, d.Intn(4))), '#'),
			fmt.Sprintf("trial of %v", s)
	case 4:
		data, what = append(data, bytes.Repeat([]byte("#"), 512)...), "1024 bytes"
	case 5:
		data, what = bytes.TrimRight(data, "#\n"), "trimmed"
	case 6:
		data[d.Intn(min(len(data), 80))] ^= 1 << d.Intn(8)
		what = "a bit"
	case 7:
		if err := f.Remove(path); err != nil {
			return "", err
		}
		return path + " gone", nil
	}
	return path + " " + what, d.inPlace(path, data)
}

func (d *disturbed) grubConfig() (string, error) {
	const path = "grub/grub.cfg"
	f, err := d.files()
	if err != nil {
		return "", err
	}
	old, err := f.ReadFile(path)
	if err != nil {
		return "", nil
	}
	switch d.Intn(3) {
	case 0:
		return "a comment", put(f, path, append(bytes.Clone(old), "\n# edited by hand\n"...))
	case 1:
		return "cut in half", put(f, path, old[:len(old)/2])
	}
	return "another timeout", put(f, path, bytes.ReplaceAll(old, []byte("timeout=0"), []byte("timeout=5")))
}
