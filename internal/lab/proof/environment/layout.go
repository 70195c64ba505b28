package environment

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

const mib = 1 << 20

// layout is a boot file system as one of many tools makes it and fills it.
type layout struct {
	size    int64 // of the partition, bytes
	ours    bool  // as an install left it
	cluster int64 // bytes; as all below it, of others' formatters
	reserve int64 // sectors before the first table
	tables  int64
	apart   bool                // the slots were made apart from all else, as a person does who follows ErrShared
	shuffle bool                // files were copied in any order
	names   func(string) string // how the copying tool spells names
	roots   bool                // there is a pair of partitions for them
	say     string
}

func (l layout) String() string {
	roots := ""
	if l.roots {
		roots = "roots in partitions, "
	}
	if l.ours {
		return fmt.Sprintf("%sboot file system of %d MiB as installed", roots, l.size/mib)
	}
	return roots + fmt.Sprintf("boot file system of %d MiB formatted and filled by others: clusters of %d, %d reserved "+
		"sectors, %d tables%s",
		l.size/mib, l.cluster, l.reserve, l.tables, l.say)
}

// minClusters is the fewest that make a FAT32.
const minClusters = 65525

// layouts is a list of n, most of them small.
func layouts(n int, r *rand.Rand) (list []layout) {
	sizes := []int64{40, 34, 36, 35, 48, 41, 34, 64, 37, 36, 272, 34, 40, 48, 96, 40}
	for i := range n {
		l := layout{size: sizes[i%len(sizes)] * mib, ours: i%2 == 0, tables: 2, reserve: 32, cluster: 512,
			names: strings.Clone}
		if l.ours {
			list = append(list, l)
			continue
		}
		l.reserve = pick[int64](r, 8, 32, 33, 38, 2048)
		l.tables = pick[int64](r, 2, 2, 2, 1)
		for l.cluster < 32<<10 && (l.size-l.reserve*512)/(2*l.cluster) > minClusters+4096 &&
			(l.size > 128*mib || r.Intn(2) == 0) {
			l.cluster *= 2
		}
		if l.apart = i%4 == 1; l.apart {
			l.say += ", the slots apart"
		}
		if l.shuffle = r.Intn(2) == 0; l.shuffle {
			l.say += ", in any order"
		}
		switch r.Intn(4) {
		case 0:
			l.names, l.say = strings.ToUpper, l.say+", names in upper case"
		case 1:
			l.names, l.say = strings.ToLower, l.say+", names in lower case"
		}
		list = append(list, l)
	}
	return list
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.Intn(len(from))] }

// format makes a FAT32 as other tools do: tables and clusters begin on any sector.
func (l layout) format(dev upgrade.Device) error {
	const sector = 512
	total := dev.Size() / sector
	per := int64(1)
	for (total-l.reserve-l.tables*per)/(l.cluster/sector)+2 > per*sector/4 {
		per++
	}
	le := binary.LittleEndian
	boot := make([]byte, sector)
	copy(boot, "\xeb\x58\x90mkfs.fat")
	le.PutUint16(boot[11:], sector)
	boot[13] = byte(l.cluster / sector)
	le.PutUint16(boot[14:], uint16(l.reserve))
	boot[16], boot[21] = byte(l.tables), 0xf8
	le.PutUint32(boot[32:], uint32(total))
	le.PutUint32(boot[36:], uint32(per))
	le.PutUint32(boot[44:], 2)
	le.PutUint16(boot[48:], 1)
	le.PutUint16(boot[50:], 6)
	boot[64], boot[66] = 0x80, 0x29
	copy(boot[71:], "NO NAME    FAT32   ")
	boot[510], boot[511] = 0x55, 0xaa
	info := make([]byte, sector)
	copy(info, "RRaA")
	copy(info[484:], "rrAa\xff\xff\xff\xff\xff\xff\xff\xff")
	info[510], info[511] = 0x55, 0xaa
	zero := make([]byte, mib)
	end := (l.reserve + l.tables*per + l.cluster/sector) * sector
	for at := int64(0); at < end; at += mib {
		if _, err := dev.WriteAt(zero[:min(mib, end-at)], at); err != nil {
			return err
		}
	}
	first := make([]byte, sector)
	for i, v := range []uint32{0x0ffffff8, 0x0fffffff, 0x0fffffff} {
		le.PutUint32(first[4*i:], v)
	}
	writes := []struct {
		at   int64
		data []byte
	}{{0, boot}, {1, info}, {6, boot}, {l.reserve, first}}
	if l.tables == 2 {
		writes = append(writes, struct {
			at   int64
			data []byte
		}{l.reserve + per, first})
	}
	for _, w := range writes {
		if _, err := dev.WriteAt(w.data, w.at*sector); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the file system anew and copies everything back.
func (l layout) fill(m *machine, r *rand.Rand) error {
	f, err := m.files()
	if err != nil {
		return err
	}
	files, err := tree(f)
	if err != nil {
		return err
	}
	dev, err := m.part("EFI")
	if err != nil {
		return err
	}
	if err := l.format(dev); err != nil {
		return err
	}
	o := bootfs.Options{Now: virtual.Now}
	if l.apart {
		o.Zones = bootloader.Zones()
	}
	if f, err = bootfs.Open(dev, o); err != nil {
		return err
	}
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if l.shuffle {
		r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	}
	for _, path := range paths {
		if err := put(f, l.names(path), files[path]); err != nil {
			return err
		}
	}
	for _, s := range bootloader.Slots() { // an empty slot's directory is a directory too
		if _, err := f.Stat(s.Dir()); err != nil {
			if err := f.Mkdir(l.names(s.Dir())); err != nil {
				return err
			}
		}
	}
	return dev.Sync()
}

// partitions are those of a small disk with such a boot file system.
func (l layout) partitions() []partition.Spec {
	specs := partition.Default(partition.Defaults{EFI: l.size, State: 3 * mib, Seed: "environment"})
	specs[len(specs)-1].Size = mib
	if l.roots {
		specs = append(specs, partition.Pair{Image: bootloader.RootImage, Size: mib}.Specs(nil, "environment")...)
	}
	return specs
}
