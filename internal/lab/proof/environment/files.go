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

func (d *disturbed) foreignFiles() (string, error) {
	files := map[string][]byte{}
	for range 1 + d.Intn(12) {
		dir := pick(d.Rand, "", "EFI/vendor/", "EFI/debian/", "loader/", "EFI/BOOT/", "System Volume Information/",
			"EFI/pawl/", "loader/entries/", "grub/", "EFI/Microsoft/Boot/")
		name := pick(d.Rand, "notes.txt", "a long name of a file that others left here.dat", "BOOTIA32.EFI",
			"fbx64.efi", "x", "random-seed", "entries.srel", "bootmgfw.efi", "grubenv", "TOOL.EFI", "read me")
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
	list := []string{"EFI/BOOT/BOOTX64.EFI", "loader/loader.conf", "loader/entries/pawl-a.conf",
		"loader/entries/pawl-b.conf"}
	if d.kit.Loader != loaders.SystemdBoot {
		list = []string{"EFI/BOOT/BOOTX64.EFI", "grub/grub.cfg", "grub/A.cfg", "grub/B.cfg", "grub/default.0.env",
			"grub/default.1.env", "grub/trial.env"}
	}
	for _, s := range bootloader.Slots() {
		for _, name := range []string{"os.efi", "vmlinuz", "initrd", "cmdline", "args.cfg", "loader.efi", "loader.img",
			"manifest.json"} {
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
	if inUse := strings.HasPrefix(path, d.last.Slot.Dir()) || strings.Contains(path, "/loader."); inUse &&
		!strings.HasSuffix(path, ".json") {
		return "", nil // bits that rot under a running system, or in what is copied from it: nothing is promised
	}
	data, err := f.ReadFile(path)
	if err != nil || len(data) == 0 {
		return "", err
	}
	at := d.Intn(len(data)) / 512 * 512
	copy(data[at:], d.noise(min(512, len(data)-at)))
	if d.others[path] != nil { // on a BIOS: what firmware of UEFI would start is another's
		d.others[path] = data
	}
	return fmt.Sprintf("%s at %d", path, at), d.inPlace(path, data)
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
