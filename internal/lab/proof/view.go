package proof

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
)

// seed makes the numbers that stand for disks; two that differ have the same number about once in 2^64.
var seed = maphash.MakeSeed()

// view tells the crash disks of one trace apart. A disk's number is the sum (xor) of one number for each sector that is
// not zero and one for each variable, so that equal disks of different traces have equal numbers, and only what the
// trace touched has to be looked at.
type view struct {
	areas   map[string][2]int64 // by kind, see kind
	parts   map[string][2]int64 // by label
	hidden  [][2]int64          // what a loader cannot get at: other partitions, the second table
	sectors []int64             // touched by the trace, in blocks of 4 KiB; those that a loader can get at come first
	visible int                 // how many
	rest    uint64              // all other sectors that a loader can get at
}

func newView(t *disktest.Trace, k *Kit) (view, error) {
	v, final := view{areas: map[string][2]int64{}, parts: map[string][2]int64{}}, t.Final()
	layout, err := partition.Read(final)
	if err != nil {
		return v, err
	}
	for _, p := range layout.Partitions {
		start, end := p.First*512, (p.First+p.Sectors)*512
		v.parts[p.Label] = [2]int64{start, end}
		if p.Label != "EFI" {
			if (p.Label != "BIOS" || !k.byBIOS()) && !strings.HasPrefix(p.Label, "ROOT-") {
				v.hidden = append(v.hidden, [2]int64{start, end})
			}
			v.areas[p.Label] = [2]int64{start, end}
			if p.Label == "META" {
				v.areas[metaOne], v.areas[metaTwo] = [2]int64{start, start + meta.CopySize},
					[2]int64{start + meta.CopySize, end}
			}
			continue
		}
		b := make([]byte, 512)
		if _, err := final.ReadAt(b, start); err != nil {
			return v, err
		}
		size := int64(binary.LittleEndian.Uint32(b[36:])) * 512
		second := start + int64(binary.LittleEndian.Uint16(b[14:]))*512 + size
		v.hidden = append(v.hidden, [2]int64{second, second + size})
		v.areas[tableOne], v.areas[tableTwo] = [2]int64{second - size, second}, [2]int64{second, second + size}
	}
	touched := map[int64]bool{}
	for _, o := range t.Ops {
		if o.Action != disktest.Write {
			continue
		}
		for at := o.Off &^ 4095; at < min(final.Size(), (o.Off+int64(len(o.Data))+4095)&^4095); at += 512 {
			touched[at] = true
		}
	}
	var unseen []int64
	for at := range touched {
		if v.isHidden(at) {
			unseen = append(unseen, at)
		} else {
			v.sectors = append(v.sectors, at)
		}
	}
	slices.Sort(v.sectors)
	slices.Sort(unseen)
	v.visible = len(v.sectors)
	v.sectors = append(v.sectors, unseen...)
	base, b := t.Base(), make([]byte, 64<<10)
	for at := int64(0); at < base.Size(); at += int64(len(b)) {
		_, whole := base.ReadAt(b, at)
		for i := 0; i < len(b); i += 512 {
			off := at + int64(i)
			if touched[off] || v.isHidden(off) {
				continue
			}
			if whole != nil { // what an earlier cut left unreadable
				if _, err := base.ReadAt(b[i:i+512], off); err != nil {
					v.rest ^= mix(1, off)
					continue
				}
			}
			v.rest ^= number(off, b[i:i+512])
		}
	}
	return v, nil
}

// Kinds of what is written.
const (
	tableOne  = "first table"
	tableTwo  = "second table"
	metaOne   = "META copy 1"
	metaTwo   = "META copy 2"
	ephemeral = "EPHEMERAL"
	rootImage = "root"
	entry     = "loader entry"
	conf      = "loader.conf"
	standing  = "copy of the default"
	trial     = "trial.env"
	directory = "directory"
	content   = "content"
)

// kind says what an operation on the disk or the variables is about.
func (v *view) kind(o disktest.Op) string {
	if o.Action == disktest.Atomic {
		name, _, _ := strings.Cut(o.Key, "-")
		if strings.HasPrefix(name, "Boot0") {
			name = "Boot####"
		}
		return name
	}
	for _, k := range []string{tableOne, tableTwo, metaOne, metaTwo, ephemeral} {
		if a := v.areas[k]; a[0] <= o.Off && o.Off < a[1] {
			return k
		}
	}
	if strings.HasPrefix(v.partition(o.Off), "ROOT-") {
		return rootImage
	}
	text := string(o.Data)
	switch {
	case len(text) != 512:
	case strings.HasPrefix(text, "title "), strings.HasPrefix(text, "set held="), strings.Trim(text, "\n") == "":
		return entry // of systemd-boot, or GRUB's switch of a slot
	case strings.HasPrefix(text, environment+"serial"):
		return standing
	case strings.HasPrefix(text, environment+"trial"):
		return trial
	case strings.HasPrefix(text, "default "), strings.HasPrefix(text, "timeout "):
		return conf
	case strings.HasPrefix(text, ".          "):
		return directory
	}
	return content
}

func (v *view) isHidden(at int64) bool {
	return slices.ContainsFunc(v.hidden, func(h [2]int64) bool { return h[0] <= at && at < h[1] })
}

var zeros [512]byte

func number(off int64, sector []byte) uint64 {
	if string(sector) == string(zeros[:]) {
		return 0
	}
	return mix(maphash.Bytes(seed, sector), off)
}

// mix makes the number of a content one of a content at a place.
func mix(n uint64, off int64) uint64 {
	n += uint64(off) * 0x9e3779b97f4a7c15
	n = (n ^ n>>32) * 0xd6e8feb86659fd93
	n = (n ^ n>>32) * 0xd6e8feb86659fd93
	return n ^ n>>32
}

// loader is the number of everything that firmware and loader can get at: partition tables, the boot file system but
// for its second table, the variables that outlive a power cut.
func (v *view) loader(m *machine) uint64 {
	return v.rest ^ v.sum(m.disk, v.sectors[:v.visible]) ^ variables(m)
}

// all is the number of the whole disk and the variables.
func (v *view) all(m *machine) uint64 { return v.rest ^ v.sum(m.disk, v.sectors) ^ variables(m) }

func (v *view) sum(d *disktest.Disk, sectors []int64) (sum uint64) {
	var b [16 * 512]byte
	for len(sectors) > 0 {
		n := 1
		for n < len(sectors) && n < len(b)/512 && sectors[n] == sectors[0]+int64(n)*512 {
			n++
		}
		_, whole := d.ReadAt(b[:n*512], sectors[0])
		for i, at := range sectors[:n] {
			sector := b[i*512 : (i+1)*512]
			if whole != nil {
				if _, err := d.ReadAt(sector, at); err != nil {
					sum ^= mix(1, at)
					continue
				}
			}
			sum ^= number(at, sector)
		}
		sectors = sectors[n:]
	}
	return sum
}

func variables(m *machine) (sum uint64) {
	m.vars.Reset()
	if m.refuses != "" {
		sum = maphash.String(seed, m.refuses) // another firmware
	}
	for name, value := range m.vars.Values() {
		sum ^= maphash.Bytes(seed, append([]byte(name+"="), value...))
	}
	return sum
}

// reading is a disk that notes all that the loader reads of it.
type reading struct {
	*disktest.Disk
	hash maphash.Hash
}

func (r *reading) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Disk.ReadAt(p, off)
	var head [17]byte
	binary.LittleEndian.PutUint64(head[:], uint64(off))
	binary.LittleEndian.PutUint64(head[8:], uint64(len(p)))
	if err != nil && n < len(p) {
		head[16], n = 1, 0
	}
	_, _ = r.hash.Write(head[:])
	_, _ = r.hash.Write(p[:n])
	return n, err
}

// see boots the machine and returns a number for what firmware and loader needed to read on the way, byte for byte, and
// for the variables. Where UEFI starts the disk too, what that reads is not in the number.
func (m *machine) see() (uint64, error) {
	sum, vars := variables(m), m.vars.Clone()
	dev := &reading{Disk: m.disk}
	dev.hash.SetSeed(seed)
	if m.bad {
		dev.Disk = m.disk.Clone() // GRUB writes
	}
	m.boots++
	o := m.firmware()
	o.SectorReads = true
	err := m.agreed(func() (predict.Outcome, error) {
		last, err := predict.Boot(dev, m.vars, o)
		if err != nil || !m.bad {
			return last, err
		}
		m.vars = vars
		return predict.Boot(m.disk, m.vars, m.firmware())
	})
	return dev.hash.Sum64() ^ sum, err
}
