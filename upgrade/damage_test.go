package upgrade_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// What other programs and bad disks do to a machine.

// at is where a partition begins on the disk, in bytes.
func (r *rig) at(label string) (off, size int64) {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find(label)
	require.NoError(r.t, err)
	return p.First * 512, p.Sectors * 512
}

// junk overwrites sectors of the disk.
func (r *rig) junk(off int64, sectors int) {
	r.t.Helper()
	_, err := r.Disk.WriteAt(bytes.Repeat([]byte{0xa5}, 512*sectors), off)
	require.NoError(r.t, err)
}

// bootFiles opens the boot file system as another program would.
func (r *rig) bootFiles() *bootfs.FS {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find("EFI")
	require.NoError(r.t, err)
	f, err := bootfs.Open(partition.Section(r.Disk, p), bootfs.Options{Zones: []string{bootloader.A.Dir(),
		bootloader.B.Dir()}, Now: virtual.Now})
	require.NoError(r.t, err)
	return f
}

// overwrite puts junk in the place of a file of one sector.
func (r *rig) overwrite(path string) {
	r.t.Helper()
	require.NoError(r.t, r.bootFiles().Overwrite(path, bytes.Repeat([]byte{0xa5}, 512)))
}

// amend makes slot B's manifest say that a file is as it is now.
func (r *rig) amend(f *bootfs.FS, name string, size int) {
	r.t.Helper()
	path := bootloader.B.File(bootloader.ManifestFile)
	data, err := f.ReadFile(path)
	require.NoError(r.t, err)
	m, err := bootloader.DecodeManifest(data)
	require.NoError(r.t, err)
	content, err := f.ReadFile(bootloader.B.File(name))
	require.NoError(r.t, err)
	require.Len(r.t, content, size)
	for i := range m.Files {
		if sum := sha256.Sum256(content); m.Files[i].Name == name {
			m.Files[i].Size, m.Files[i].SHA256 = int64(size), hex.EncodeToString(sum[:])
		}
	}
	data, err = bootloader.EncodeManifest(m)
	require.NoError(r.t, err)
	require.NoError(r.t, f.WriteFile(path, data))
}

func (r *rig) set(name efivar.Name, data []byte) {
	r.t.Helper()
	require.NoError(r.t, r.Vars.Write(name, efivar.Variable{Attributes: efivar.Kept, Data: data}))
}

func (r *rig) numbers(name string, n ...uint16) {
	r.t.Helper()
	r.set(efivar.Global(name), efivar.EncodeNumbers(n...))
}

// option adds a boot option for a file on the boot file system.
func (r *rig) option(n uint16, name, file string) {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find("EFI")
	require.NoError(r.t, err)
	guid, err := efivar.ParseGUID(p.GUID.String())
	require.NoError(r.t, err)
	drive := efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid}
	data, err := efivar.LoadOption{Attributes: efivar.Active, Description: name, Path: []efivar.Node{drive.Node(),
		efivar.FilePath(file), efivar.End()}}.Encode()
	require.NoError(r.t, err)
	r.set(efivar.Boot(n), data)
}

// version is an image for the machine's loader.
func (r *rig) version(version string) *image.Image {
	if r.Loader == "" || r.Loader == loaders.SystemdBoot {
		return r.image(version)
	}
	return grubImage(r.t, r.images, version)
}

// flip changes the last byte of a file where it lies.
func (r *rig) flip(path string) {
	r.t.Helper()
	f := r.bootFiles()
	data, err := f.ReadFile(path)
	require.NoError(r.t, err)
	data[len(data)-1] ^= 1
	require.NoError(r.t, f.WriteFile(path, data))
}

// shorten takes the second half of a file away.
func (r *rig) shorten(path string) {
	r.t.Helper()
	f := r.bootFiles()
	data, err := f.ReadFile(path)
	require.NoError(r.t, err)
	require.NoError(r.t, f.WriteFile(path, data[:len(data)/2]))
}

// spoil makes a file of one sector unreadable.
func (r *rig) spoil(path string) {
	r.t.Helper()
	data, err := r.bootFiles().ReadFile(path)
	require.NoError(r.t, err)
	whole := make([]byte, r.Disk.Size())
	_, err = r.Disk.ReadAt(whole, 0)
	require.NoError(r.t, err)
	at := bytes.Index(whole, data)
	require.Positive(r.t, at)
	r.Disk.Spoil(int64(at), 512)
}

// secondTable is where the second table of the boot file system begins.
func secondTable(r *rig) int64 {
	off, _ := r.at("EFI")
	b := make([]byte, 512)
	_, err := r.Disk.ReadAt(b, off)
	require.NoError(r.t, err)
	le := binary.LittleEndian
	return int64(le.Uint16(b[14:]))*512 + int64(le.Uint32(b[36:]))*512
}
