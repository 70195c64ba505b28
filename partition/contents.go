package partition

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/foreign"
)

// Content is one thing that a disk holds: a partition, or what is on the disk itself.
type Content struct {
	Number int    // of the partition; 0 is the disk itself
	Label  string // of the partition
	Bytes  int64
	Holds  string // what is in it, such as "a FAT file system"; empty: nothing that is known
	Volume string // the name that this has
}

// String is the content in one line.
func (c Content) String() string {
	text := "the whole disk"
	switch {
	case c.Number > 0 && c.Label != "":
		text = fmt.Sprintf("partition %d (%s)", c.Number, c.Label)
	case c.Number > 0:
		text = fmt.Sprintf("partition %d", c.Number)
	}
	text += ", " + bytesize.Text(c.Bytes)
	if c.Holds != "" {
		text += ", " + c.Holds
	}
	if c.Volume != "" {
		text += fmt.Sprintf(" %q", c.Volume)
	}
	return text
}

// Contents says what is on a disk, for whoever decides whether it can be lost: its partitions, of a GPT or of a DOS
// table, or what the disk holds without any. It is empty for a disk on which nothing is found. What cannot be read is
// told as such.
func Contents(dev Device) []Content {
	var all []Content
	sector := int64(dev.SectorSize())
	if l, err := Read(dev); err == nil {
		for _, p := range l.Partitions {
			c := Content{Number: p.Number, Label: foreign.Text(p.Label, 2*nameUnits), Bytes: l.Bytes(p)}
			c.look(Section(dev, p))
			all = append(all, c)
		}
		return all
	}
	if m := readMBR(dev); m.kind == mbrDOS {
		for i := range 4 {
			e := m.entry(i)
			p := Partition{First: int64(binary.LittleEndian.Uint32(e[8:])),
				Sectors: int64(binary.LittleEndian.Uint32(e[12:]))}
			if e[4] == 0 {
				continue
			}
			c := Content{Number: i + 1, Bytes: p.Sectors * sector}
			if p.First > 0 && p.Sectors > 0 && (p.First+p.Sectors)*sector <= dev.Size() {
				c.look(Section(dev, p))
			}
			all = append(all, c)
		}
		return all
	}
	c := Content{Bytes: dev.Size()}
	if c.look(dev); c.Holds != "" {
		all = append(all, c)
	}
	return all
}

// look finds what is on a device.
func (c *Content) look(dev Device) {
	holds, err := probe(dev, false)
	if holds == "" && err != nil {
		holds = "which cannot be read"
	}
	c.Holds, c.Volume = holds, volume(dev, holds)
}

// volumes are where file systems keep the name of a volume, in bytes from their start: the first that is not empty
// counts.
var volumes = map[string][]struct{ at, length int64 }{
	"an ext2, ext3 or ext4 file system": {{1144, 16}},
	"a FAT file system":                 {{71, 11}, {43, 11}},
	"an XFS file system":                {{108, 12}},
	"swap space":                        {{1052, 16}},
	"a LUKS volume":                     {{24, 48}},
	"a btrfs file system":               {{64<<10 + 299, 256}},
	"an ISO 9660 file system":           {{32<<10 + 40, 32}},
}

// volume is the name of what is on a device; empty where it has none, or none that is text.
func volume(dev Device, holds string) string {
	for _, v := range volumes[holds] {
		b := make([]byte, v.length)
		if v.at+v.length > dev.Size() || readFull(dev, b, v.at) != nil {
			continue
		}
		text, _, _ := strings.Cut(string(b), "\x00")
		text = strings.TrimSpace(text)
		plain := func(r rune) bool { return r < ' ' || r > '~' }
		if holds == "a FAT file system" && (text == "NO NAME" || strings.ContainsFunc(text, plain)) {
			continue
		}
		if text != "" {
			return foreign.Text(text, 64)
		}
	}
	return ""
}
