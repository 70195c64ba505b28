package environment

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
)

// starts are disturbances of what firmware starts, and where it looks.
func starts() []disturbance {
	return []disturbance{
		{"another loader where firmware looks", 6, nil, (*disturbed).otherLoader},
		{"a shim in front of the loader", 4, uefi, (*disturbed).shim},
		{"Secure Boot switched on", 4, uefi, (*disturbed).secureBoot},
		{"a second EFI partition", 4, nil, (*disturbed).secondEFI},
	}
}

const removable = "EFI/BOOT/BOOTX64.EFI"

// otherLoader is what a distribution's package, or a person, puts there: an older or a newer one, whole or not.
func (d *disturbed) otherLoader() (string, error) {
	version := pick(d.Rand, "246.1", "254.5", "257.4", "260.1", "262.1", "262.1", "263")
	data := loadertest.LoaderOf("amd64", version)
	if d.kit.Loader == loaders.GRUBUEFI {
		data = loadertest.GRUBEFIOf(version)
	}
	switch d.Intn(8) {
	case 0:
		data, version = data[:len(data)/2], version+", cut in half"
	case 1:
		data, version = loadertest.LoaderOf("arm64", version), version+" for arm64"
	}
	if d.kit.Loader == loaders.GRUBBIOS { // it looks elsewhere
		data = pick(d.Rand, data, loadertest.Shim("amd64"), loadertest.GRUBEFIOf(version), d.noise(700))
		return version + ", a shim, GRUB or noise, on a BIOS", d.write(map[string][]byte{removable: data})
	}
	f, err := d.files()
	if err != nil {
		return "", err
	}
	delete(d.others, removable) // such as a shim
	return version, put(f, removable, data)
}

// shim has firmware start a shim, which starts the loader.
func (d *disturbed) shim() (string, error) {
	f, err := d.files()
	if err != nil {
		return "", err
	}
	loader, err := f.ReadFile(removable)
	if err != nil {
		return "", err
	}
	files := map[string][]byte{"EFI/BOOT/grubx64.efi": loader, removable: loadertest.Shim("amd64")}
	if d.Intn(4) == 0 {
		files["EFI/BOOT/mmx64.efi"] = d.noise(700)
	}
	return "", d.write(files)
}

// secureBoot has firmware ask who signed what it starts. With a list it trusts the loader that is there and the
// systems, by their digests, and nothing else.
func (d *disturbed) secureBoot() (string, error) {
	if err := d.set(efivar.Global("SecureBoot"), volatile, []byte{1}); err != nil {
		return "", err
	}
	if d.Intn(3) == 0 {
		return "nobody knows whom it trusts", nil
	}
	f, err := d.files()
	if err != nil {
		return "", err
	}
	loader, err := f.ReadFile(removable)
	if err != nil {
		return "", err
	}
	programs := [][]byte{loader}
	for _, version := range []string{"1.1.0", "1.1.1", "1.1.2", "1.1.3", "1.1.4", "1.1.5", "1.1.6", "1.1.7", "1.2.2",
		"1.2.6", "1.2.9", "1.2.10"} {
		img, err := d.kit.Image(version)
		if err != nil {
			return "", err
		}
		err = img.Extract(context.Background(), func(a image.Asset, r io.Reader) error {
			b, err := io.ReadAll(r)
			if strings.HasPrefix(a.Name, "vmlinuz") { // a kernel, or a UKI
				programs = append(programs, b)
			}
			return err
		}, nil)
		if err != nil {
			return "", err
		}
	}
	var owner, digests []byte
	owner = make([]byte, 16)
	for _, b := range programs {
		if s, err := authenticode.Read(b); err == nil {
			digests = append(append(digests, owner...), s.Digest[:]...)
		}
	}
	list := []byte("\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28") // EFI_CERT_SHA256_GUID
	for _, n := range []int{28 + len(digests), 0, 48} {
		list = binary.LittleEndian.AppendUint32(list, uint32(n))
	}
	return fmt.Sprintf("it trusts %d programs", len(digests)/48), d.set(secureboot.Database("db"), efivar.Kept,
		append(list, digests...))
}

// secondEFI makes the partition STATE look like another EFI system partition: by its label, its type, or both; empty,
// or with a FAT12 or FAT16 of others that has a program where firmware looks.
func (d *disturbed) secondEFI() (string, error) {
	layout, err := partition.Read(d.disk)
	if err != nil {
		return "", err
	}
	p, err := layout.Find("STATE")
	if err != nil {
		return "", err
	}
	what := ""
	for i := range layout.Partitions {
		q := &layout.Partitions[i]
		if q.Number != p.Number {
			continue
		}
		if how := d.Intn(3); how < 2 {
			q.Label, what = "EFI", "by its label"
			if how == 1 {
				what = "by label and type"
			}
		} else {
			what = "by its type"
		}
		if what != "by its label" {
			q.Type = partition.TypeESP
		}
	}
	if d.Intn(3) > 0 {
		loader, err := program("")
		if err != nil {
			return "", err
		}
		if d.Intn(2) == 0 {
			loader = loadertest.Loader("amd64")
		}
		per := pick(d.Rand, 1, 1, 4)
		volume := smallFAT(int(p.Sectors), per, loader)
		if _, err := partition.Section(d.disk, p).WriteAt(volume, 0); err != nil {
			return "", err
		}
		what += fmt.Sprintf(", with a FAT of %d clusters that has a loader", int(p.Sectors)/per)
	}
	return what, partition.Apply(d.disk.Disk, layout)
}

// smallFAT is the beginning of a FAT12 or FAT16 of so many sectors, with so many in a cluster, that holds a loader for
// removable media.
func smallFAT(sectors, per int, loader []byte) []byte {
	const sector, root = 512, 32 // sectors of the root directory
	table := (2*sectors/per + sector) / sector
	data := (1 + 2*table + root) * sector
	b := make([]byte, data+(2+len(loader)/sector/per+1)*per*sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x3c\x90mkfs.fat")
	le.PutUint16(b[11:], sector)
	b[13], b[14], b[16], b[21] = byte(per), 1, 2, 0xf8
	le.PutUint16(b[17:], root*sector/32)
	le.PutUint16(b[19:], uint16(sectors))
	le.PutUint16(b[22:], uint16(table))
	b[38] = 0x29
	copy(b[43:], "NO NAME    FAT16   ")
	b[510], b[511] = 0x55, 0xaa
	chain := []uint16{0xfff8, 0xffff, 0xffff, 0xffff} // EFI, BOOT
	n := (len(loader) + per*sector - 1) / (per * sector)
	for i := range n {
		chain = append(chain, uint16(5+i))
	}
	chain[len(chain)-1] = 0xffff
	for copy := range 2 {
		at := (1 + copy*table) * sector
		for i, c := range chain {
			if (sectors-data/sector)/per >= 4085 {
				le.PutUint16(b[at+2*i:], c)
				continue
			}
			entry := b[at+i*3/2:]
			if c &= 0xfff; i%2 == 0 {
				le.PutUint16(entry, le.Uint16(entry)&0xf000|c)
			} else {
				le.PutUint16(entry, le.Uint16(entry)&0xf|c<<4)
			}
		}
	}
	slot := func(at int, name string, attributes byte, cluster, size int) {
		copy(b[at:], name)
		b[at+11] = attributes
		le.PutUint16(b[at+26:], uint16(cluster))
		le.PutUint32(b[at+28:], uint32(size))
	}
	cluster := func(n int) int { return data + (n-2)*per*sector }
	slot((1+2*table)*sector, "EFI        ", 0x10, 2, 0)
	for i, name := range []string{"BOOT       ", "BOOTX64 EFI"} {
		at := cluster(2 + i)
		slot(at, ".          ", 0x10, 2+i, 0)
		slot(at+32, "..         ", 0x10, 2*i, 0)
		slot(at+64, name, byte(0x10+0x10*i), 3+i, i*len(loader))
	}
	return append(b[:cluster(4)], bytes.Clone(loader)...)
}
