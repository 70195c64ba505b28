// Package rootfs is for those who write an initramfs: it finds the root file system image of the slot that runs, and
// has the kernel check every block of it with dm-verity.
//
// Start with Find, which takes the kernel's command line and the disk, and returns where the image lies and by which
// root hash it is trusted. Root.Target is what dm-verity is told, and Map tells it, by ioctls; Root.Check reads all of
// the image without the kernel's help.
//
// It guarantees that what it returns belongs to the slot that runs: by the slot's manifest, and where the command line
// names a root hash (a UKI's own is signed with it) by that. A contradiction is an error, so that a trial ends and the
// machine comes back. It writes nothing to the disk, starts no program and loads no module; it neither mounts nor
// switches the root.
//
// Specification: Linux, include/uapi/linux/dm-ioctl.h, and Documentation/admin-guide/device-mapper/verity.rst.
package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// Errors that callers act on.
var (
	// ErrOtherDisk is returned when this boot was started from another disk. Do: look at the machine's next disk.
	ErrOtherDisk = errors.New("this boot was started from another disk")
	// ErrNoImage is returned when the slot that runs has no image of that name. Do: mount what the initramfs itself has.
	ErrNoImage = errors.New("the slot has no such image")
	// ErrAmbiguous is returned when it is not known which slot runs. Do: say so (Options.Slot); in a trial restart, and
	// the old version comes back.
	ErrAmbiguous = errors.New("it is not known which slot runs")
	// ErrWrong is returned when the image is not the one that the slot's manifest or the command line names. Do: restart;
	// in a trial the old version comes back.
	ErrWrong = errors.New("not the image that this kernel belongs to")
)

// Options say what is looked for. With nothing but Cmdline it is the root.
type Options struct {
	Cmdline string           // of the kernel that runs: /proc/cmdline
	Image   string           // name of the image; "": bootloader.RootImage
	Slot    bootloader.Slot  // that runs, where the caller knows: see upgrade.Machine.Runs
	Labels  partition.Labels // of the disk's partitions, where they are not those of partition.Default
}

// Root is where an image of the slot that runs lies.
type Root struct {
	Slot      bootloader.Slot
	Version   string           // of the operating system
	Image     bootloader.Image // as the slot's manifest has it
	Partition partition.Partition
	Offset    int64              // of the partition on the disk, in bytes; the file system begins here
	Size      int64              // of the file system in bytes, without its hash tree
	Tree      *verity.Superblock // of the hash tree behind it; nil: there is none, and nothing but Check checks the image
	Hash      verity.Hash        // the root hash; zero without a tree
}

// Find finds the image. Which slot runs is what the command line says (pawl.slot), or Options.Slot, or the one slot
// whose image has the root hash of the command line (pawl.verity.NAME). Of an image with a hash tree, the first block
// is checked up to the root hash. The disk stays the caller's; it is only read.
func Find(disk partition.Device, o Options) (Root, error) {
	f := &finder{disk: disk, Options: o}
	if f.Image == "" {
		f.Image = bootloader.RootImage
	}
	r, err := f.find()
	if err != nil {
		return Root{}, fmt.Errorf("find the image %s of the running slot: %w", f.Image, err)
	}
	return r, nil
}

type finder struct {
	Options
	disk   partition.Device
	layout partition.Layout
	boot   *bootfs.FS
	hash   *verity.Hash // that the command line names; nil: none
}

func (f *finder) find() (Root, error) {
	if err := bootloader.CheckImageName(f.Image); err != nil {
		return Root{}, err
	}
	if err := f.open(); err != nil {
		return Root{}, err
	}
	text, set, err := cmdline.One(f.Cmdline, cmdline.Verity+f.Image)
	if err != nil {
		return Root{}, fmt.Errorf("%w: %w", err, ErrWrong)
	}
	if set {
		h, err := verity.ParseHash(text)
		if err != nil {
			return Root{}, fmt.Errorf("kernel argument %s%s: %w", cmdline.Verity, f.Image, err)
		}
		f.hash = &h
	}
	s, err := f.slot()
	if err != nil {
		return Root{}, err
	}
	return f.root(s)
}

// open reads the table and opens the boot file system, if this boot is of this disk.
func (f *finder) open() (err error) {
	if f.layout, err = partition.Read(f.disk); err != nil {
		return err
	}
	esp, err := f.Labels.Find(f.layout, partition.EFI)
	if err != nil {
		return err
	}
	said, set, err := cmdline.One(f.Cmdline, cmdline.Boot)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrAmbiguous)
	}
	if set && !strings.EqualFold(said, esp.GUID.String()) {
		return fmt.Errorf("from partition %s, the boot file system here is %s: %w", said, esp.GUID, ErrOtherDisk)
	}
	f.boot, err = bootfs.Open(partition.Section(f.disk, esp), bootfs.Options{})
	return err
}

// slot is the one that runs.
func (f *finder) slot() (bootloader.Slot, error) {
	said, set, err := cmdline.One(f.Cmdline, cmdline.Slot)
	if err != nil {
		return bootloader.None, fmt.Errorf("%w: %w", err, ErrAmbiguous)
	}
	if set {
		s, err := bootloader.ParseSlot(said)
		if err == nil && f.Slot != bootloader.None && s != f.Slot {
			err = fmt.Errorf("the caller says %s, the kernel's arguments say %s", f.Slot, s)
		}
		if err != nil {
			return bootloader.None, fmt.Errorf("%w: %w", err, ErrAmbiguous)
		}
		return s, nil
	}
	if f.Slot != bootloader.None {
		return f.Slot, nil
	}
	if f.hash == nil {
		return bootloader.None, fmt.Errorf("the kernel's arguments have neither %s nor %s%s: %w", cmdline.Slot,
			cmdline.Verity, f.Image, ErrAmbiguous)
	}
	var has []bootloader.Slot
	var errs []error // of slots that cannot be read: one of them may be the other one that has it
	for _, s := range bootloader.Slots() {
		_, i, err := f.manifest(s)
		switch {
		case err == nil && strings.EqualFold(i.Verity, f.hash.String()):
			has = append(has, s)
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoImage) &&
			!errors.Is(err, bootloader.ErrManifest):
			errs = append(errs, err)
		}
	}
	switch {
	case len(has) == 1 && errs == nil:
		return has[0], nil
	case len(has) > 1:
		return bootloader.None, fmt.Errorf("both slots have an image with the root hash %s: %w", f.hash, ErrAmbiguous)
	}
	return bootloader.None, errors.Join(append(errs,
		fmt.Errorf("no slot has an image with the root hash %s: %w", f.hash, ErrWrong))...)
}

// manifest reads what a slot holds, and its image.
func (f *finder) manifest(s bootloader.Slot) (bootloader.Manifest, bootloader.Image, error) {
	data, err := f.boot.ReadFile(s.File(bootloader.ManifestFile))
	if err != nil {
		return bootloader.Manifest{}, bootloader.Image{}, fmt.Errorf("read slot %s: %w", s, err)
	}
	m, err := bootloader.DecodeManifest(data)
	if err != nil {
		return m, bootloader.Image{}, fmt.Errorf("read slot %s: %w", s, err)
	}
	i, ok := m.FindImage(f.Image)
	if !ok {
		return m, i, fmt.Errorf("slot %s, version %s: %w", s, m.Version, ErrNoImage)
	}
	return m, i, nil
}

// root looks at the image of a slot.
func (f *finder) root(s bootloader.Slot) (Root, error) {
	m, i, err := f.manifest(s)
	if err != nil {
		return Root{}, err
	}
	r := Root{Slot: s, Version: m.Version, Image: i, Size: i.Size}
	if r.Partition, err = f.layout.ByGUID(i.Partition); err != nil {
		return Root{}, err
	}
	r.Offset = r.Partition.First * int64(f.layout.SectorSize)
	if has := f.layout.Bytes(r.Partition); i.Size > has {
		return Root{}, fmt.Errorf("%v has %d bytes, the image of slot %s %d: %w", r.Partition, has, s, i.Size, ErrWrong)
	}
	if f.hash != nil && !strings.EqualFold(i.Verity, f.hash.String()) {
		return Root{}, fmt.Errorf("the root hash of slot %s is %q, the kernel's arguments say %s: %w", s, i.Verity, f.hash,
			ErrWrong)
	}
	if i.Verity == "" {
		return r, nil
	}
	tree, err := r.open(f.disk)
	if err != nil {
		return Root{}, err
	}
	super := tree.Superblock()
	r.Tree, r.Size = &super, tree.Size()
	if r.Hash, err = verity.ParseHash(i.Verity); err != nil {
		return Root{}, err
	}
	if _, err := tree.ReadAt(make([]byte, verity.BlockSize), 0); err != nil {
		return Root{}, fmt.Errorf("%v: %w", r.Partition, err)
	}
	return r, nil
}

// bytes are the image's, its tree included.
func (r Root) bytes(disk device.Device) io.ReaderAt {
	return device.Section(disk, r.Offset, r.Image.Size)
}

// open opens the image with its tree.
func (r Root) open(disk device.Device) (*verity.Reader, error) {
	h, err := verity.ParseHash(r.Image.Verity)
	if err != nil {
		return nil, err
	}
	tree, err := verity.OpenImage(r.bytes(disk), r.Image.Size, h)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", r.Partition, err)
	}
	return tree, nil
}

// Check reads all of the image: against its hash tree, or where it has none against the digest in the slot's manifest.
// What differs is [ErrWrong], or [verity.ErrCorrupt], which says where.
func (r Root) Check(ctx context.Context, disk partition.Device) error {
	if r.Tree != nil {
		tree, err := r.open(disk)
		if err == nil {
			err = tree.Check(ctx)
		}
		if err != nil {
			return fmt.Errorf("check image %s of slot %s: %w", r.Image.Name, r.Slot, err)
		}
		return nil
	}
	h := sha256.New()
	in := io.NewSectionReader(r.bytes(disk), 0, r.Image.Size)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("check image %s of slot %s: %w", r.Image.Name, r.Slot, err)
		}
		switch _, err := io.CopyN(h, in, 1<<20); {
		case errors.Is(err, io.EOF):
			if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, r.Image.SHA256) {
				return fmt.Errorf("check image %s of slot %s: SHA-256 %s, its manifest says %s: %w", r.Image.Name, r.Slot, got,
					r.Image.SHA256, ErrWrong)
			}
			return nil
		case err != nil:
			return fmt.Errorf("check image %s of slot %s: %w", r.Image.Name, r.Slot, err)
		}
	}
}
