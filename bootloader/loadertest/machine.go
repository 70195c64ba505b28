package loadertest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// Machine is a disk with a boot file system, and the firmware's variables. What is done to either is recorded by the
// disk in one order.
type Machine struct {
	Disk      *disktest.Disk
	Vars      *efivar.Memory
	Partition efivar.HardDrive // the boot file system
	BIOS      efivar.HardDrive // the BIOS boot partition; zero on disks of 4096-byte sectors
	Options   predict.Options
	Separate  bool   // slots hold a kernel and an initramfs instead of a UKI
	Cmdline   string // what the loader gave the kernel that runs; "" when it does not say
}

// Geometry of a Machine's disk.
const (
	diskSize  = 64 << 20
	espStart  = 1 << 20
	gptCount  = 128
	gptWidth  = 128
	espNumber = 1
)

// NewMachine returns a machine whose disk has a partition table and an empty boot file system, and whose firmware was
// never started.
func NewMachine(sectorSize int) (*Machine, error) {
	size := int64(diskSize)
	if sectorSize == 4096 {
		size = 8 * diskSize // the smallest FAT32 with such sectors is larger
	}
	m := &Machine{Disk: disktest.New(size, sectorSize)}
	m.Partition = efivar.HardDrive{
		Number: espNumber, First: uint64(espStart / sectorSize), Sectors: uint64((size - 8<<20) / int64(sectorSize)),
		GUID: efivar.GUID{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
			0x01},
	}
	if sectorSize == 512 {
		m.BIOS = efivar.HardDrive{Number: 2, First: 64, Sectors: 1024, GUID: efivar.GUID{0x21, 0x32}}
	}
	if err := writeGPT(m.Disk, m.Partition, m.BIOS); err != nil {
		return nil, err
	}
	if err := bootfs.Format(m.esp(), bootfs.FormatOptions{Label: "EFI", Time: clock()}); err != nil {
		return nil, err
	}
	return m.with(m.Disk, efivar.NewMemory()), nil
}

// with returns the same machine with another disk and variables, which are recorded from now on.
func (m *Machine) with(d *disktest.Disk, vars *efivar.Memory) *Machine {
	c := *m
	c.Disk, c.Vars = d, vars
	vars.BeforeWrite = func(name efivar.Name, value []byte) error {
		d.Atomic(name.String(), value)
		return nil
	}
	return &c
}

// Clone returns a copy that shares nothing that could change.
func (m *Machine) Clone() *Machine { return m.with(m.Disk.Clone(), m.Vars.Clone()) }

// Crashed returns the machine as a power cut left it.
func (m *Machine) Crashed(c *disktest.Crash) (*Machine, error) {
	vars, err := efivar.LoadMemory(c.Atomics())
	if err != nil {
		return nil, err
	}
	return m.with(c.Device(), vars), nil
}

// Place is the machine's disk as backends are told of it.
func (m *Machine) Place() bootloader.Disk {
	return bootloader.Disk{Device: m.Disk, Boot: m.Partition, BIOS: m.BIOS}
}

// Boot powers the machine on.
func (m *Machine) Boot() (predict.Outcome, error) {
	o, err := predict.Boot(m.Disk, m.Vars, m.Options)
	m.Cmdline = o.Cmdline
	return o, err
}

// FS opens the boot file system, with its zones.
func (m *Machine) FS() (*bootfs.FS, error) {
	return bootfs.Open(m.esp(), bootfs.Options{Zones: bootloader.Zones(), Now: clock})
}

func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC) }

// Payload is a whole slot with one small UKI, and what its manifest says.
func Payload(version string) (image []byte, m bootloader.Manifest) {
	files, m := payload(version, arch.Usual().Name, false)
	return files[0].data, m
}

type slotFile struct {
	name string
	data []byte
}

// payload is what a slot holds. The first file is what the loader starts.
func payload(version, machine string, separate bool) (files []slotFile, m bootloader.Manifest) {
	content := bytes.Repeat([]byte(version+"\n"), 400)
	files = []slotFile{{bootloader.UKIFile, Kernel(machine, content)}}
	if separate {
		files = []slotFile{
			{bootloader.KernelFile, LinuxImageFor(machine, content)},
			{bootloader.InitrdFile, append([]byte("070701 initramfs of "), content...)},
			{bootloader.CmdlineFile, []byte("console=ttyS0 panic=1\n")},
		}
	}
	of := sha256.Sum256([]byte(version))
	m = bootloader.Manifest{Version: version, Image: "sha256:" + hex.EncodeToString(of[:]), Arch: machine}
	for _, f := range files {
		sum := sha256.Sum256(f.data)
		m.Files = append(m.Files, bootloader.File{Name: f.name, Size: int64(len(f.data)),
			SHA256: hex.EncodeToString(sum[:])})
	}
	return files, m
}

// arch is the name of the machine's architecture.
func (m *Machine) arch() string { return cmp.Or(m.Options.Arch, arch.Usual().Name) }

// Fill writes a version into a slot, as a UKI: the manifest and the files that are there go first, the manifest comes
// last.
func Fill(f *bootfs.FS, s bootloader.Slot, version string) (bootloader.Manifest, error) {
	return fill(f, s, version, arch.Usual().Name, false)
}

// Fill writes a version into a slot, as the machine's loader wants it.
func (m *Machine) Fill(f *bootfs.FS, s bootloader.Slot, version string) (bootloader.Manifest, error) {
	return fill(f, s, version, m.arch(), m.Separate)
}

// Manifest is what Fill writes for a version.
func (m *Machine) Manifest(version string) bootloader.Manifest {
	_, held := payload(version, m.arch(), m.Separate)
	return held
}

func fill(f *bootfs.FS, s bootloader.Slot, version, machine string, separate bool) (bootloader.Manifest, error) {
	files, m := payload(version, machine, separate)
	for _, name := range append([]slotFile{{name: bootloader.ManifestFile}}, files...) {
		if err := f.Remove(s.File(name.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
	}
	data, err := bootloader.EncodeManifest(m)
	if err != nil {
		return m, err
	}
	for _, file := range append(files, slotFile{bootloader.ManifestFile, data}) {
		if err := f.WriteFile(s.File(file.name), file.data); err != nil {
			return m, err
		}
	}
	return m, nil
}

// espDevice is the boot file system's partition as a device.
type espDevice struct {
	*disktest.Disk
	start, size int64
}

func (m *Machine) esp() espDevice {
	sector := int64(m.Disk.SectorSize())
	return espDevice{m.Disk, int64(m.Partition.First) * sector, int64(m.Partition.Sectors) * sector}
}

func (s espDevice) Size() int64 { return s.size }

func (s espDevice) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > s.size {
		return 0, fmt.Errorf("read of %d bytes at %d, beyond the partition", len(p), off)
	}
	return s.Disk.ReadAt(p, s.start+off)
}

func (s espDevice) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > s.size {
		return 0, fmt.Errorf("write of %d bytes at %d, beyond the partition", len(p), off)
	}
	return s.Disk.WriteAt(p, s.start+off)
}

// writeGPT writes both tables with the boot file system and, if there is one, the BIOS boot partition.
func writeGPT(d *disktest.Disk, p, bios efivar.HardDrive) error {
	sector := int64(d.SectorSize())
	last := d.Size()/sector - 1
	inTable := gptCount * gptWidth / sector
	le := binary.LittleEndian

	entries := make([]byte, gptCount*gptWidth)
	esp := []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	copy(entries, esp)
	guid := mixed(p.GUID[:])
	copy(entries[16:], guid[:])
	le.PutUint64(entries[32:], p.First)
	le.PutUint64(entries[40:], p.First+p.Sectors-1)
	if bios.Sectors > 0 {
		second := mixed(bios.GUID[:])
		copy(entries[gptWidth:], "Hah!IdontNeedEFI")
		copy(entries[gptWidth+16:], second[:])
		le.PutUint64(entries[gptWidth+32:], bios.First)
		le.PutUint64(entries[gptWidth+40:], bios.First+bios.Sectors-1)
	}

	header := func(here, there, table int64) []byte {
		h := make([]byte, sector)
		copy(h, "EFI PART\x00\x00\x01\x00")
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], uint64(here))
		le.PutUint64(h[32:], uint64(there))
		le.PutUint64(h[40:], uint64(2+inTable))
		le.PutUint64(h[48:], uint64(last-1-inTable))
		copy(h[56:], guid[:])
		le.PutUint64(h[72:], uint64(table))
		le.PutUint32(h[80:], gptCount)
		le.PutUint32(h[84:], gptWidth)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	mbr := make([]byte, sector)
	copy(mbr[446:], []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0})
	le.PutUint32(mbr[458:], uint32(last))
	mbr[510], mbr[511] = 0x55, 0xaa
	for _, w := range []struct {
		data []byte
		lba  int64
	}{
		{mbr, 0}, {header(1, last, 2), 1}, {entries, 2},
		{entries, last - inTable}, {header(last, 1, last-inTable), last},
	} {
		if _, err := d.WriteAt(w.data, w.lba*sector); err != nil {
			return err
		}
	}
	return d.Sync()
}

// mixed turns the order of bytes that the text of a GUID has into that on disk.
func mixed(b []byte) efivar.GUID {
	return efivar.GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]}
}
