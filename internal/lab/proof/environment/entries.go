package environment

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/pack"
)

// program is an EFI program that boots and is nobody's here; its release names it for systemd-boot.
func program(release string) ([]byte, error) {
	kernel := loadertest.Kernel("amd64", []byte("a system of others"))
	if release == "" {
		return kernel, nil
	}
	asset, err := pack.UKI(pack.UKIParts{Stub: section(loadertest.Stub()), Linux: section([]byte("kernel of others")),
		OSRelease: release, Uname: "6.9"})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = asset.Write(&b)
	return b.Bytes(), err
}

func (d *disturbed) sortKey() string {
	return pick(d.Rand, "", "", "0", "9", "99", "a", "arch", "pawl", "-", "~", "00")
}

func (d *disturbed) foreignEntry() (string, error) {
	name := pick(d.Rand, "arch.conf", "debian-6.1.conf", "zzz.conf", "000.conf", "pawl-c.conf", "pawl.conf",
		"pawl-a-old.conf", "pawl-b.conf.bak", "PAWL-A~1.CONF", "pawl-a+3.conf", "pawl-b+2-1.conf", "arch+0-3.conf",
		"auto-x.conf", ".hidden.conf")
	var text strings.Builder
	line := func(key, value string) { fmt.Fprintf(&text, "%s %s\n", key, value) }
	line("title", pick(d.Rand, "Arch Linux", "Pawl", "Debian"))
	if key := d.sortKey(); key != "" || d.Intn(4) == 0 {
		line("sort-key", key)
	}
	if d.Intn(2) == 0 {
		line("version", pick(d.Rand, "1", "99.9", "1.2.2", "6.1.0-13-amd64", ""))
	}
	if d.Intn(6) == 0 {
		line("machine-id", strings.Repeat("0", 32))
	}
	path := pick(d.Rand, "/EFI/vendor/vmlinuz.efi", "/EFI/vendor/vmlinuz.efi", "/EFI/gone/vmlinuz.efi",
		"/EFI/pawl/A/os.efi", "/EFI/pawl/B/os.efi", "/EFI/pawl/A/vmlinuz", "/EFI/BOOT/BOOTX64.EFI")
	line(pick(d.Rand, "linux", "linux", "efi"), path)
	if d.Intn(3) == 0 {
		line("initrd", pick(d.Rand, "/EFI/vendor/initrd", "/EFI/pawl/A/initrd", "/gone"))
	}
	if d.Intn(3) == 0 {
		line("options", "root=/dev/sda2")
	}
	data := []byte(text.String())
	switch d.Intn(8) {
	case 0:
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	case 1:
		data = append(data, bytes.Repeat([]byte("# a comment\n"), 60)...)
	}
	kernel, err := program("")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("loader/entries/%s: %s", name, shown(data)), d.write(map[string][]byte{
		"loader/entries/" + name: data, "EFI/vendor/vmlinuz.efi": kernel,
		"EFI/vendor/initrd": []byte("initramfs of others"),
	})
}

func (d *disturbed) foreignUKI() (string, error) {
	name := pick(d.Rand, "linux.efi", "arch-linux.efi", "pawl-a.efi", "zzz.efi", "linux+3.efi", "linux+0-2.efi",
		"LINUX~1.EFI", "debian-6.1.efi")
	id := pick(d.Rand, "arch", "0", "00", "pawl", "virtual", "zz", "-")
	release := fmt.Sprintf("ID=%s\nNAME=%s\nVERSION_ID=%s\n", id, id, pick(d.Rand, "1", "99"))
	data, err := program(release)
	if err != nil {
		return "", err
	}
	switch d.Intn(6) {
	case 0:
		data = data[:len(data)/2]
		release += "cut in half"
	case 1:
		data = d.noise(700)
		release = "noise"
	}
	return fmt.Sprintf("EFI/Linux/%s: %q", name, release), d.write(map[string][]byte{"EFI/Linux/" + name: data})
}

func (d *disturbed) loaderConf() (string, error) {
	const path = "loader/loader.conf"
	f, err := d.files()
	if err != nil {
		return "", err
	}
	old, _ := f.ReadFile(path)
	id := entryID(d.anySlot())
	var data []byte
	switch d.Intn(12) {
	case 0:
		if !exists(f, path) {
			return "", nil
		}
		return "gone", f.Remove(path)
	case 1:
		data = d.noise(pick(d.Rand, 1, 300, 512, 700))
	case 2:
		data = nil
	case 3:
		data = padded([]byte("default "+pick(d.Rand, "pawl-*", "*", "pawl-?.conf", "pawl-[!b].conf",
			"*-b.*", "pawl-[b", "@saved", "auto-windows", "auto-*", "auto-reboot-to-firmware-setup", `"`+id+`"`,
			"arch.conf", "pawl-a", "@x", "@Saved", "arch-*")+"\ntimeout 3\n"), '\n')
	case 4:
		data = bytes.ReplaceAll(bytes.TrimRight(old, "\n"), []byte("\n"), []byte("\r\n"))
		data = padded(append(data, "\r\n"...), '\n')
	case 5:
		data = append(bytes.TrimRight(old, "\n"), "\neditor no\nconsole-mode max\nauto-entries no\n"...)
		if d.Intn(2) == 0 {
			data = padded(data, '\n')
		}
	case 6:
		data = append(bytes.Clone(old), bytes.Repeat([]byte("# a comment\n"), 50)...)
	case 7:
		data = padded([]byte("default "+id+"\ntimeout 0\n"), '\n')
	case 8:
		data = padded([]byte(pick(d.Rand, "preferred ", "default ")+id+"\ndefault "+entryID(d.anySlot())+"\n"), '\n')
	case 9:
		data = padded([]byte("timeout "+pick(d.Rand, "menu-force", "menu-hidden", "menu-disabled", "-1", "x")+
			"\ndefault "+id+"\n"), '\n')
	case 10:
		data = []byte("default " + id + "\n")
	case 11:
		data = bytes.Clone(old)
		if len(data) > 0 {
			data[d.Intn(min(len(data), 60))] ^= 1 << d.Intn(8)
		}
	}
	return shown(bytes.TrimRight(data, "\n")) + fmt.Sprintf(", %d bytes", len(data)), d.inPlace(path, data)
}

func (d *disturbed) ownEntry() (string, error) {
	s := d.anySlot()
	path := "loader/entries/" + entryID(s)
	f, err := d.files()
	if err != nil {
		return "", err
	}
	old, err := f.ReadFile(path)
	if err != nil {
		return "", nil
	}
	text, what := string(old), ""
	switch d.Intn(11) {
	case 0:
		key := pick(d.Rand, "0", "9", "99", "", "a")
		text, what = replaceLine(text, "sort-key", "sort-key "+key), "sort-key "+key
	case 1:
		what = pick(d.Rand, "architecture aa64", "architecture ia32", "architecture X64", "architecture riscv64",
			"devicetree /x.dtb", "uki /EFI/pawl/A/os.efi", "uki-url http://localhost/os.efi", "initrd /gone", "profile 1",
			"machine-id 0123456789abcdef0123456789abcdef")
		text = pick(d.Rand, what+"\n"+text, strings.TrimRight(text, "\n")+"\n"+what+"\n")
	case 2:
		text, what = strings.Repeat("\n", len(text)), "emptied"
	case 3:
		text, what = string(d.noise(512)), "noise"
	case 4:
		text, what = strings.Replace(text, "/"+string(s)+"/", "/"+string(s.Other())+"/", 1), "starts the other slot"
	case 5:
		text, what = strings.TrimRight(text, "\n")+"\n", "trimmed"
	case 6:
		text, what = replaceLine(text, "version", "version 99"), "version 99"
	case 7:
		text, what = strings.TrimRight(text, "\n")+"\noptions quiet\n", "options"
	case 10:
		path := "/EFI/pawl/" + string(s) + "/os.efi"
		what = pick(d.Rand, strings.ToLower(path), path[1:], strings.ReplaceAll(path, "/", `\`), `"`+path+`"`, "/"+path)
		text = strings.Replace(text, path, what, 1)
	case 8, 9:
		b := []byte(text)
		if len(b) > 0 {
			at, bit := d.Intn(min(len(b), 160)), d.Intn(8)
			b[at] ^= 1 << bit
			what = fmt.Sprintf("bit %d of byte %d", bit, at)
		}
		text = string(b)
	}
	if what != "trimmed" {
		text = string(padded([]byte(strings.TrimRight(text, "\n")), '\n'))
	}
	return path + " " + what, d.inPlace(path, []byte(text))
}

func replaceLine(text, key, with string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, key+" ") {
			lines[i] = with
		}
	}
	return strings.Join(lines, "\n")
}
