package environment

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// times are disturbances by what an earlier or later day left.
func times() []disturbance {
	return []disturbance{
		{"the disk of another day", 6, nil, (*disturbed).otherDisk},
		{"the variables of another day", 6, uefi, (*disturbed).otherVariables},
		{"META of another day", 6, nil, (*disturbed).otherMeta},
		{"META destroyed", 2, nil, (*disturbed).metaDestroyed},
		{"META made anew", 2, nil, (*disturbed).metaAnew},
		{"META holds something else", 2, nil, (*disturbed).metaEdited},
		{"a partition table damaged", 2, nil, (*disturbed).tableDamaged},
		{"the disk a little smaller or larger", 1, nil, (*disturbed).resized},
		{"booted without a word", 4, nil, (*disturbed).booted},
	}
}

func (d *disturbed) anyDay() (day, bool) {
	at := d.Intn(len(d.days))
	return d.days[at], at != d.day
}

func (d *disturbed) otherDisk() (string, error) {
	other, ok := d.anyDay()
	if !ok {
		return "", nil
	}
	d.disk.Disk = other.m.disk.Disk.Clone()
	clear(d.others)
	return other.name, nil
}

func (d *disturbed) otherVariables() (string, error) {
	other, ok := d.anyDay()
	if !ok {
		return "", nil
	}
	kept := other.m.vars.Memory.Clone()
	kept.Reset() // what this boot's firmware and loader said of it is not kept, and nobody can put it back
	names, err := d.vars.List()
	if err != nil {
		return "", err
	}
	for _, n := range names {
		v, err := d.vars.Memory.Read(n)
		if err == nil && v.Attributes&efivar.NonVolatile == 0 {
			err = kept.Delete(n)
			if err == nil {
				err = kept.Write(n, v)
			}
		}
		if err != nil {
			return "", err
		}
	}
	d.vars.Memory = kept
	return other.name, nil
}

func (d *disturbed) otherMeta() (string, error) {
	other, ok := d.anyDay()
	if !ok {
		return "", nil
	}
	from, err := other.m.part("META")
	if err != nil {
		return "", err
	}
	to, err := d.part("META")
	if err != nil {
		return "", err
	}
	b := make([]byte, from.Size())
	if _, err := from.ReadAt(b, 0); err != nil {
		return "", err
	}
	_, err = to.WriteAt(b, 0)
	return other.name, err
}

func (d *disturbed) metaDestroyed() (string, error) {
	p, err := d.part("META")
	if err != nil {
		return "", err
	}
	b := d.noise(4096)
	for at := int64(0); at < p.Size(); at += int64(len(b)) {
		if _, err := p.WriteAt(b, at); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (d *disturbed) metaAnew() (string, error) {
	p, err := d.part("META")
	if err != nil {
		return "", err
	}
	return "", meta.Format(p)
}

func (d *disturbed) metaEdited() (string, error) {
	p, err := d.part("META")
	if err != nil {
		return "", err
	}
	s, err := meta.Open(p)
	if err != nil {
		return "", nil
	}
	tag := pick(d.Rand, meta.TagAttempt, meta.TagBadDigests)
	text := pick(d.Rand, "", "{}", "[]", "null", `{"phase":"armed","to":"B","from":"A"}`,
		`{"phase":"started","to":"A","from":"B","image":"sha256:0"}`, `{"phase":"later","to":"C"}`,
		strings.Repeat("x", 900))
	return fmt.Sprintf("tag %#x: %s", tag, text), s.Set(tag, []byte(text))
}

func (d *disturbed) tableDamaged() (string, error) {
	last := d.disk.Size()/512 - 1
	at := pick(d.Rand, 0, 1, 2, last, last-1)
	_, err := d.disk.Disk.WriteAt(d.noise(512), at*512)
	return fmt.Sprintf("sector %d of %d", at, last+1), err
}

func (d *disturbed) resized() (string, error) {
	by := pick[int64](d.Rand, -8, -1, 1, 2048)
	d.disk.Disk = d.disk.Resized(d.disk.Size() + by*512)
	return fmt.Sprintf("by %d sectors", by), nil
}

// booted is the machine switched off and on, one to three times, and what boots says nothing.
func (d *disturbed) booted() (string, error) {
	n := 1 + d.Intn(3)
	for range n {
		if err := d.boot(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d times: %v", n, d.last), nil
}

// clusterOf is where a directory's first cluster begins in a FAT32, found without the product's help but for the walk.
func clusterOf(dev upgrade.Device, path string) (int64, error) {
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	sector, per := int64(le.Uint16(b[11:])), int64(b[13])
	data := (int64(le.Uint16(b[14:])) + int64(b[16])*int64(le.Uint32(b[36:]))) * sector
	cluster := int64(le.Uint32(b[44:]))
	for _, name := range strings.Split(path, "/") {
		found := int64(0)
		dir := make([]byte, sector*per)
		if _, err := dev.ReadAt(dir, data+(cluster-2)*sector*per); err != nil {
			return 0, err
		}
		for at := 0; at+32 <= len(dir); at += 32 {
			e := dir[at : at+32]
			if e[11]&0x10 != 0 && e[11] != 0x0f && strings.EqualFold(strings.TrimRight(string(e[:11]), " "), name) {
				found = int64(le.Uint16(e[20:]))<<16 | int64(le.Uint16(e[26:]))
			}
		}
		if found < 2 {
			return 0, fmt.Errorf("no directory %s: %w", path, bootfs.ErrDamaged)
		}
		cluster = found
	}
	return data + (cluster-2)*sector*per, nil
}
