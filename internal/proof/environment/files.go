package environment

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/pack"
)

// files are disturbances of the boot file system.
func files() []disturbance {
	return []disturbance{
		{"an entry of others", 9, sdboot, (*disturbed).foreignEntry},
		{"a UKI of others", 6, sdboot, (*disturbed).foreignUKI},
		{"loader.conf edited", 12, sdboot, (*disturbed).loaderConf},
		{"an entry of ours edited", 6, sdboot, (*disturbed).ownEntry},
		{"a block of GRUB's edited", 8, grub, (*disturbed).grubBlock},
		{"grub.cfg edited", 2, grub, (*disturbed).grubConfig},
		{"files of others", 6, nil, (*disturbed).foreignFiles},
		{"files of ours restored one by one", 12, nil, (*disturbed).restored},
		{"a file of ours gone", 4, nil, (*disturbed).fileGone},
		{"a file of ours overwritten", 4, nil, (*disturbed).fileOverwritten},
		{"a stray file in a slot", 3, nil, (*disturbed).strayFile},
		{"a slot's directory damaged", 4, nil, (*disturbed).slotDamaged},
		{"a slot copied over the other", 2, nil, (*disturbed).slotCopied},
		{"the boot file system nearly full", 5, nil, (*disturbed).nearlyFull},
		{"the boot file system made anew and filled by others", 6, nil, (*disturbed).madeAnew},
	}
}

// program is an EFI program that boots and is nobody's here; its release names it for systemd-boot.
func program(release string) ([]byte, error) {
	kernel := loadertest.Kernel("amd64", []byte("a system of others"))
	if release == "" {
		return kernel, nil
	}
	asset, err := pack.UKI(pack.UKIParts{Stub: section(loadertest.Stub()), Linux: section([]byte("kernel of others")), OSRelease: release, Uname: "6.9"})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = asset.Write(&b)
	return b.Bytes(), err
}

// write puts files of others, which stay as they are.
func (d *disturbed) write(files map[string][]byte) error {
	f, err := d.files()
	if err != nil {
		return err
	}
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if err := put(f, path, files[path]); err != nil {
			return err
		}
		d.others[path] = files[path]
	}
	return nil
}

func (d *disturbed) sortKey() string {
	return pick(d.Rand, "", "", "0", "9", "99", "a", "arch", "pawl", "-", "~", "00")
}

func (d *disturbed) foreignEntry() (string, error) {
	name := pick(d.Rand, "arch.conf", "debian-6.1.conf", "zzz.conf", "000.conf", "pawl-c.conf", "pawl.conf", "pawl-a-old.conf", "pawl-b.conf.bak", "PAWL-A~1.CONF", "pawl-a+3.conf", "pawl-b+2-1.conf", "arch+0-3.conf", "auto-x.conf", ".hidden.conf")
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
	path := pick(d.Rand, "/EFI/vendor/vmlinuz.efi", "/EFI/vendor/vmlinuz.efi", "/EFI/gone/vmlinuz.efi", "/EFI/pawl/A/os.efi", "/EFI/pawl/B/os.efi", "/EFI/pawl/A/vmlinuz", "/EFI/BOOT/BOOTX64.EFI")
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
		"loader/entries/" + name: data, "EFI/vendor/vmlinuz.efi": kernel, "EFI/vendor/initrd": []byte("initramfs of others"),
	})
}

func (d *disturbed) foreignUKI() (string, error) {
	name := pick(d.Rand, "linux.efi", "arch-linux.efi", "pawl-a.efi", "zzz.efi", "linux+3.efi", "linux+0-2.efi", "LINUX~1.EFI", "debian-6.1.efi")
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

// inPlace changes the content of a file where it lies, as far as it is long enough; else the file is written anew.
func (d *disturbed) inPlace(path string, data []byte) error {
	f, err := d.files()
	if err != nil {
		return err
	}
	if info, err := f.Stat(path); err != nil || info.Size != int64(len(data)) || len(data) == 0 {
		return put(f, path, data)
	}
	w, err := f.Fill(path, 0)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return err
	}
	return w.Close()
}

func padded(data []byte, with byte) []byte {
	if len(data) >= 512 {
		return data
	}
	return append(slices.Clip(data), bytes.Repeat([]byte{with}, 512-len(data))...)
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
		data = padded([]byte("default "+pick(d.Rand, "pawl-*", "*", "pawl-?.conf", "@saved", "auto-windows", "arch.conf", "pawl-a", "@x", "arch-*")+"\ntimeout 3\n"), '\n')
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
		data = padded([]byte("timeout "+pick(d.Rand, "menu-force", "menu-hidden", "menu-disabled", "-1", "x")+"\ndefault "+id+"\n"), '\n')
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
	switch d.Intn(8) {
	case 0:
		key := pick(d.Rand, "0", "9", "99", "", "a")
		text, what = replaceLine(text, "sort-key", "sort-key "+key), "sort-key "+key
	case 1:
		text, what = strings.TrimRight(text, "\n")+"\narchitecture aa64\n", "architecture aa64"
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
		data, what = padded([]byte(fmt.Sprintf("%strial=%v\ntries=%d\n", signature, s, d.Intn(4))), '#'), fmt.Sprintf("trial of %v", s)
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

func (d *disturbed) foreignFiles() (string, error) {
	files := map[string][]byte{}
	for range 1 + d.Intn(12) {
		dir := pick(d.Rand, "", "EFI/vendor/", "EFI/debian/", "loader/", "EFI/BOOT/", "System Volume Information/", "EFI/pawl/", "loader/entries/", "grub/", "EFI/Microsoft/Boot/")
		name := pick(d.Rand, "notes.txt", "a long name of a file that others left here.dat", "BOOTIA32.EFI", "fbx64.efi", "x", "random-seed", "entries.srel", "bootmgfw.efi", "grubenv", "TOOL.EFI", "read me")
		files[dir+name] = d.noise(pick(d.Rand, 0, 1, 100, 512, 700, 5000, 70000))
	}
	var names []string
	for path, data := range files {
		names = append(names, fmt.Sprintf("%s (%d)", path, len(data)))
	}
	slices.Sort(names)
	return strings.Join(names, ", "), d.write(files)
}

// own lists the files that an installed machine has, those of slots last.
func (d *disturbed) own(f *bootfs.FS) []string {
	list := []string{"EFI/BOOT/BOOTX64.EFI", "loader/loader.conf", "loader/entries/pawl-a.conf", "loader/entries/pawl-b.conf"}
	if d.kit.Loader != loaders.SystemdBoot {
		list = []string{"EFI/BOOT/BOOTX64.EFI", "grub/grub.cfg", "grub/A.cfg", "grub/B.cfg", "grub/default.0.env", "grub/default.1.env", "grub/trial.env"}
	}
	for _, s := range bootloader.Slots {
		for _, name := range []string{"os.efi", "vmlinuz", "initrd", "cmdline", "args.cfg", "loader.efi", "loader.img", "manifest.json"} {
			list = append(list, s.File(name))
		}
	}
	return slices.DeleteFunc(list, func(path string) bool { return !exists(f, path) })
}

func exists(f *bootfs.FS, path string) bool {
	_, err := f.Stat(path)
	return err == nil
}

// restored removes files of ours and writes them again, where there is room: as a person does with a backup.
func (d *disturbed) restored() (string, error) {
	f, err := d.files()
	if err != nil {
		return "", err
	}
	own := d.own(f)
	d.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
	own = own[:1+d.Intn(len(own))]
	spell := pick(d.Rand, strings.Clone, strings.Clone, strings.ToUpper, strings.ToLower)
	held := map[string][]byte{}
	for _, path := range own {
		if held[path], err = f.ReadFile(path); err != nil {
			return "", err
		}
	}
	first := d.Intn(2) == 0 // all are removed first
	for _, path := range own {
		if first {
			if err := f.Remove(path); err != nil {
				return "", err
			}
		}
	}
	between := d.Intn(2) == 0
	for i, path := range own {
		if !first {
			if err := f.Remove(path); err != nil {
				return "", err
			}
		}
		if between {
			name := fmt.Sprintf("backup.%d", i)
			if err := put(f, name, []byte("note")); err != nil {
				return "", err
			}
			d.others[name] = []byte("note")
		}
		if err := put(f, spell(path), held[path]); err != nil {
			return "", err
		}
	}
	what := strings.Join(own, ", ")
	if between {
		what += ", with files of others between"
	}
	if first {
		what += ", after all were removed"
	}
	return what, nil
}

func (d *disturbed) fileGone() (string, error) {
	f, err := d.files()
	if err != nil {
		return "", err
	}
	path := pick(d.Rand, d.own(f)...)
	return path, f.Remove(path)
}

func (d *disturbed) fileOverwritten() (string, error) {
	f, err := d.files()
	if err != nil {
		return "", err
	}
	path := pick(d.Rand, d.own(f)...)
	if inUse := strings.HasPrefix(path, d.last.Slot.Dir()) || strings.Contains(path, "/loader."); inUse && !strings.HasSuffix(path, ".json") {
		return "", nil // bits that rot under a running system, or in what is copied from it: nothing is promised
	}
	data, err := f.ReadFile(path)
	if err != nil || len(data) == 0 {
		return "", err
	}
	at := d.Intn(len(data)) / 512 * 512
	copy(data[at:], d.noise(min(512, len(data)-at)))
	return fmt.Sprintf("%s at %d", path, at), d.inPlace(path, data)
}

func (d *disturbed) strayFile() (string, error) {
	dir := d.anySlot().Dir() + pick(d.Rand, "", "", "/sub")
	name := dir + "/" + pick(d.Rand, "notes.txt", "vmlinuz", "cmdline", "initrd", "os.efi.bak", "loader.efi", "manifest.json~", "OS~1.EFI")
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

func (d *disturbed) nearlyFull() (string, error) {
	f, err := d.files()
	if err != nil {
		return "", err
	}
	free, err := f.Free("")
	if err != nil {
		return "", err
	}
	left := int64(pick(d.Rand, 0, 512, 2048, 8192, 40<<10, 100<<10, 200<<10, 400<<10))
	if free -= left; free <= 0 {
		return "", nil
	}
	return fmt.Sprintf("%d bytes are left", left), f.Allocate("big.bin", free)
}

func (d *disturbed) madeAnew() (string, error) {
	dev, err := d.part("EFI")
	if err != nil {
		return "", err
	}
	l := layouts(2, d.Rand)[1]
	l.size = dev.Size()
	if (l.size-l.reserve*512)/l.cluster < minClusters+2048 {
		l.cluster = 512
	}
	return l.String(), l.fill(d.machine, d.Rand)
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}
