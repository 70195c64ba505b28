package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// compareCore compares a core image with the one that a BIOS starts.
func (l *Loader) compareCore(c *bootloader.Comparison, own []byte) {
	if l.BIOS == nil {
		return
	}
	c.Own = "GRUB " + name(plain(own))
	c.Unsafe = fmt.Errorf("a BIOS starts what one sector of the disk names, and goes on to nothing else where that "+
		"is destroyed: %w", bootloader.ErrRisk)
	_, installed, err := l.BIOS.core()
	if err != nil {
		c.Installed = fmt.Sprintf("nothing that can be read (%v)", err)
		return
	}
	c.Installed, c.Digest = "GRUB "+name(plain(installed)), digest(own)
	if c.Same = bytes.Equal(plain(installed), plain(own)); !c.Same {
		c.Digest = digest(installed)
	}
}

func checkCore(core []byte) error {
	if len(core) <= sector || core[0] != 0x52 || binary.LittleEndian.Uint16(core[coreSegment:]) != loadSegment {
		return errors.New("the core image is not one of GRUB's for i386-pc")
	}
	return nil
}

// plain is a core image without what an installer fills in, in whole sectors.
func plain(core []byte) []byte {
	whole := make([]byte, (len(core)+sector-1)/sector*sector)
	copy(whole, core)
	clear(whole[coreNext:sector])
	return whole
}

// core reads the core image that the boot code names, and where it is, in sectors; 0 when the boot code does not say.
func (p *Place) core() (at int64, image []byte, err error) {
	le, first := binary.LittleEndian, make([]byte, sector)
	if _, err := p.Disk.ReadAt(first, 0); err != nil {
		return 0, nil, fmt.Errorf("read sector 0: %w", err)
	}
	at = int64(le.Uint64(first[bootCore:]))
	if at < p.First || at >= p.First+p.Sectors {
		return 0, nil, fmt.Errorf("the boot code in sector 0 names sector %d, which is not in the BIOS boot partition",
			at)
	}
	head := make([]byte, sector)
	if _, err := p.Disk.ReadAt(head, at*sector); err != nil {
		return at, nil, fmt.Errorf("read the core image: %w", err)
	}
	if n := int64(le.Uint16(head[coreLength:])); at+1+n > p.First+p.Sectors {
		return at, nil, fmt.Errorf("the core image at sector %d says that %d more belong to it", at, n)
	}
	image = make([]byte, (1+int64(le.Uint16(head[coreLength:])))*sector)
	if _, err := p.Disk.ReadAt(image, at*sector); err != nil {
		return at, nil, fmt.Errorf("read the core image: %w", err)
	}
	return at, image, checkCore(image)
}

// replaceCore puts a core image into the half of the BIOS boot partition that is not in use, and has the boot code
// start it.
//
//  1. the image, flushed, and read back. A cut: the old one starts.
//  2. sector 0, with the other place in it; flush. A cut: the old one starts, or the new one. Destroyed: nothing
//     starts, and this is why it has to be forced.
func replaceCore(p *Place, own []byte) error {
	old, image, err := p.core()
	if old == 0 {
		return fmt.Errorf("%w; install again", err)
	}
	half, at, core := p.Sectors/2, p.First, plain(own)
	if old < p.First+half {
		at += half
	}
	switch {
	case int64(len(core)) > half*sector:
		return fmt.Errorf("the core image of %d bytes does not fit a half of the BIOS boot partition, %d bytes",
			len(core), half*sector)
	case old < p.First+half && old+int64(len(image)/sector) > p.First+half:
		return errors.New("the installed core image takes more than a half of the BIOS boot partition; install again")
	}
	fill(core, at)
	if err := write(p.Disk, core, at*sector); err != nil {
		return fmt.Errorf("core image: %w", err)
	}
	back := make([]byte, len(core))
	if _, err := p.Disk.ReadAt(back, at*sector); err != nil || !bytes.Equal(back, core) {
		return fmt.Errorf("core image: read back: it is not what was written (%v)", err)
	}
	first := make([]byte, sector)
	if _, err := p.Disk.ReadAt(first, 0); err != nil {
		return fmt.Errorf("read sector 0: %w", err)
	}
	binary.LittleEndian.PutUint64(first[bootCore:], uint64(at))
	if err := write(p.Disk, first, 0); err != nil {
		return fmt.Errorf("boot code: %w", err)
	}
	return nil
}

// fill fills in where a core image lies, in sectors.
func fill(core []byte, at int64) {
	le := binary.LittleEndian
	le.PutUint64(core[coreNext:], uint64(at)+1)
	le.PutUint16(core[coreLength:], uint16(len(core)/sector-1))
	le.PutUint16(core[coreSegment:], loadSegment)
}
