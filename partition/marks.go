package partition

import (
	"encoding/binary"
	"fmt"
)

// mark is what another use of a disk is known by.
type mark struct {
	name string
	text string
	at   []int64 // bytes from the start; where negative, from the end
}

// The marks, as util-linux has them in libblkid.
var marks = []mark{
	{"a BlueStore of Ceph", "bluestore block device", []int64{0}},
	{"an XFS file system", "XFSB", []int64{0}},
	{"a LUKS volume", "LUKS\xba\xbe", []int64{0}},
	{"a LUKS volume, by its second header", "SKUL\xba\xbe", []int64{16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10,
		512 << 10, mib, 2 * mib, 4 * mib}},
	{"a BitLocker volume", "-FVE-FS-", []int64{3}},
	{"a squashfs file system", "hsqs", []int64{0}},
	{"a squashfs file system", "sqsh", []int64{0}},
	{"a cramfs file system", "\x45\x3d\xcd\x28", []int64{0, 512}},
	{"a cramfs file system", "\x28\xcd\x3d\x45", []int64{0, 512}},
	{"a romfs file system", "-rom1fs-", []int64{0}},
	{"an NTFS file system", "NTFS    ", []int64{3}},
	{"an exFAT file system", "EXFAT   ", []int64{3}},
	{"a ReFS file system", "\x00\x00\x00ReFS\x00", []int64{0}},
	{"an APFS container", "NXSB", []int64{32}},
	{"a FAT file system", "FAT12   ", []int64{54}},
	{"a FAT file system", "FAT16   ", []int64{54}},
	{"a FAT file system", "MSDOS", []int64{54}},
	{"a FAT file system", "MSWIN", []int64{82}},
	{"a FAT file system", "FAT32   ", []int64{82}},
	{"an LVM physical volume", "LABELONE", []int64{0, 512, 1024, 1536}},
	{"an LVM physical volume", "HM\x01\x00", []int64{0}},
	{"an LVM snapshot", "SnAp", []int64{0}},
	{"a dm-verity volume", "verity\x00\x00", []int64{0}},
	{"a dm-integrity volume", "integrt\x00", []int64{0}},
	{"a VDO volume", "dmvdo001", []int64{0}},
	{"a Stratis pool", "!Stra0tis\x86\xff\x02^\x41rh", []int64{512 + 4, 9*512 + 4}},
	{"a zonefs file system", "SFOZ", []int64{0}},
	{"UBI or UBIFS", "UBI#", []int64{0}},
	{"UBI or UBIFS", "\x31\x18\x10\x06", []int64{0}},
	{"an EROFS file system", "\xe2\xe1\xf5\xe0", []int64{1024}},
	{"an F2FS file system", "\x10\x20\xf5\xf2", []int64{1024, 5120}},
	{"an ext2, ext3 or ext4 file system", "\x53\xef", []int64{1080}},
	{"an HFS+ file system", "H+\x00\x04", []int64{1024}},
	{"an HFS+ file system", "HX\x00\x05", []int64{1024}},
	{"an HFS file system", "BD", []int64{1024}},
	{"a VxFS file system", "\xf5\xfc\x01\xa5", []int64{1024}},
	{"a minix file system", "\x7f\x13", []int64{1040}},
	{"a minix file system", "\x8f\x13", []int64{1040}},
	{"a minix file system", "\x68\x24", []int64{1040}},
	{"a minix file system", "\x78\x24", []int64{1040}},
	{"a minix file system", "\x5a\x4d", []int64{1048}},
	{"a nilfs2 file system", "\x34\x34", []int64{1030}},
	{"an OCFS2 file system", "OCFSV2", []int64{1024, 2048, 4096, 8192}},
	{"a BeFS file system", "1SFB", []int64{32, 512 + 32}},
	{"swap space", "SWAPSPACE2", []int64{4086, 8182, 16374, 32758, 65526}},
	{"swap space", "SWAP-SPACE", []int64{4086, 8182, 16374, 32758, 65526}},
	{"a system that sleeps in swap space", "S1SUSPEND", []int64{4086, 8182, 16374, 32758, 65526}},
	{"a system that sleeps in swap space", "LINHIB0001", []int64{4086, 8182, 16374, 32758, 65526}},
	{"a Linux RAID member", "\xfc\x4e\x2b\xa9", []int64{0, 4096}},
	{"a bcachefs file system", "\xc6\x85\x73\xf6\x66\xce\x90\xa9", []int64{4096 + 24, 2*mib + 24, 24 - mib}},
	{"a bcache device", "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", []int64{4096 + 24}},
	{"an ISO 9660 file system", "CD001", []int64{32769}},
	{"a UDF file system", "BEA01", []int64{32769, 34817, 36865}},
	{"a UDF file system", "NSR02", []int64{32769, 34817, 36865}},
	{"a UDF file system", "NSR03", []int64{32769, 34817, 36865}},
	{"a JFS file system", "JFS1", []int64{32 << 10}},
	{"a ReiserFS file system", "ReIsEr", []int64{8<<10 + 52, 64<<10 + 52, 64 << 10}},
	{"a btrfs file system", "_BHRfS_M", []int64{64<<10 + 64, 64*mib + 64}},
	{"a GFS2 file system", "\x01\x16\x19\x70", []int64{64 << 10}},
	{"a UFS file system", "\x54\x19\x01\x00", []int64{8<<10 + 1372, 64<<10 + 1372}},
	{"a UFS file system", "\x19\x01\x54\x19", []int64{8<<10 + 1372, 64<<10 + 1372}},
	{"a VMFS volume", "\x0d\xd0\x01\xc0", []int64{mib}},
	{"a VMFS file system", "\x5e\xf1\xab\x2f", []int64{2 * mib}},
	{"a DRBD device", "\x83\x74\x02\x6b", []int64{60 - 4096}},
	{"a DRBD device", "\x83\x74\x02\x6c", []int64{60 - 4096}},
	{"a DRBD device", "\x83\x74\x02\x6d", []int64{60 - 4096}},
	{"a member of a firmware's RAID", "Intel Raid ISM Cfg Sig. ", []int64{-1024, -8192}},
	{"a member of a firmware's RAID", "\xde\x11\xde\x11", []int64{-512, -257 * 512}},
	{"a member of a firmware's RAID", "\x11\xde\x11\xde", []int64{-512, -257 * 512}},
	{"a member of a firmware's RAID", "$XIDE$", []int64{-512}},
	{"a member of a firmware's RAID", "NVIDIA  ", []int64{-1024}},
	{"a member of a firmware's RAID", "\x37\xfc\x4d\x1e", []int64{-512}},                  // Adaptec
	{"a member of a firmware's RAID", "\xf0\x16\x78\x5a", []int64{9*512 + 32}},            // HighPoint 37x
	{"a member of a firmware's RAID", "\xfd\x16\x78\x5a", []int64{9*512 + 32, -11 * 512}}, // either
	{"a member of a firmware's RAID", "\xf3\x16\x78\x5a", []int64{-11 * 512}},             // HighPoint 45x
	{"a member of a firmware's RAID", "JM", []int64{-512}},                                // JMicron
	{"a member of a firmware's RAID", "\x00\x00\x00\x2f", []int64{0x60 - 512}},            // Silicon Image
	{"a member of a firmware's RAID", "\x55\xaa\x01", []int64{-512}},                      // VIA
	{"a member of a firmware's RAID", "\x55\xaa\x02", []int64{-512}},                      // VIA
	{"a member of a firmware's RAID", "Promise Technology, Inc.", []int64{-63 * 512, -255 * 512, -256 * 512, -16 * 512,
		-399 * 512, -591 * 512, -675 * 512, -735 * 512, -911 * 512, -974 * 512, -991 * 512, -951 * 512, -3087 * 512}},
	{"an Apple partition map", "PM\x00\x00", []int64{512, 2048}},
	{"a BSD disklabel", "\x57\x45\x56\x82", []int64{64, 512}},
	{"a Sun disklabel", "\xda\xbe", []int64{508}},
	{"an SGI disklabel", "\x0b\xe5\xa9\x41", []int64{0}},
	{"a qcow2 disk image", "QFI\xfb", []int64{0}},
	{"a QED disk image", "QED\x00", []int64{0}},
	{"a VHDX disk image", "vhdxfile", []int64{0}},
	{"a VHD disk image", "conectix", []int64{0, -512}},
	{"a VMDK disk image", "KDMV", []int64{0}},
	{"a VMDK disk image", "COWD", []int64{0}},
	{"a VMDK disk image's description", "# Disk DescriptorFile", []int64{0}},
	{"a VDI disk image", "\x7f\x10\xda\xbe", []int64{64}},
	{"a Parallels disk image", "WithoutFreeSpace", []int64{0}},
	{"a Parallels disk image", "WithouFreSpacExt", []int64{0}},
}

// probe names what is found on a device that is not a partition table, or returns "". With head it looks only at the
// device's first MiB. What cannot be read is an error, where nothing else is found.
func probe(dev Device, head bool) (found string, err error) {
	for _, m := range marks {
		for _, at := range m.at {
			if head && (at < 0 || at >= mib) {
				continue
			}
			there, e := marked(dev, at, m.text)
			if there {
				return m.name, nil
			}
			if e != nil && err == nil {
				err = e
			}
		}
	}
	if !head {
		for _, look := range []func(Device) (string, error){raid, zfs} {
			name, e := look(dev)
			if name != "" {
				return name, nil
			}
			if err == nil {
				err = e
			}
		}
	}
	other := map[int]int64{512: 4096, 4096: 512}[dev.SectorSize()]
	if there, e := marked(dev, other, signature); there {
		return fmt.Sprintf("a GPT made for sectors of %d bytes, and this disk has %d", other, dev.SectorSize()), nil
	} else if err == nil {
		err = e
	}
	return "", err
}

// marked reports whether a text lies at an offset; a device that is too small for it has none.
func marked(dev Device, at int64, text string) (bool, error) {
	if at < 0 {
		at += dev.Size()
	}
	if at < 0 || at > dev.Size()-int64(len(text)) {
		return false, nil
	}
	b := make([]byte, len(text))
	if err := readFull(dev, b, at); err != nil {
		return false, fmt.Errorf("read %d bytes at %d: %w", len(b), at, err)
	}
	return string(b) == text, nil
}

// raid finds the metadata of md that lie before the end: version 1.0 in the last 8 KiB but aligned to 4, version 0.90
// in the last 64 KiB but aligned to them, in either order of bytes.
func raid(dev Device) (string, error) {
	one, old := (dev.Size()-8<<10)&^(4<<10-1), dev.Size()&^(64<<10-1)-64<<10
	for _, at := range []int64{one, old} {
		for _, text := range []string{"\xfc\x4e\x2b\xa9", "\xa9\x2b\x4e\xfc"} {
			if at < 0 {
				continue
			}
			if there, err := marked(dev, at, text); there || err != nil {
				return map[bool]string{true: "a Linux RAID member"}[there], err
			}
		}
	}
	return "", nil
}

// zfs finds an uberblock in one of the four labels of a ZFS pool's device: two at the start, two at the end, 256 KiB
// each, the second half of which are uberblocks in places of 1 KiB or more.
func zfs(dev Device) (string, error) {
	const label, magic = 256 << 10, 0x00bab10c
	end := dev.Size() &^ (label - 1)
	blocks := make([]byte, label/2)
	for _, at := range []int64{0, label, end - 2*label, end - label} {
		if at < 0 || at+label > dev.Size() {
			continue
		}
		if err := readFull(dev, blocks, at+label/2); err != nil {
			return "", fmt.Errorf("read %d bytes at %d: %w", len(blocks), at+label/2, err)
		}
		for b := blocks; len(b) > 0; b = b[1<<10:] {
			if binary.LittleEndian.Uint64(b) == magic || binary.BigEndian.Uint64(b) == magic {
				return "a member of a ZFS pool", nil
			}
		}
	}
	return "", nil
}
