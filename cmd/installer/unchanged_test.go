package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// unchanged requires the disk and the variables to be, byte by byte, what they were.
func (b *box) unchanged(before []byte, vars map[string][]byte) {
	b.t.Helper()
	after := b.content()
	require.Equal(b.t, len(before), len(after))
	if !bytes.Equal(before, after) {
		b.t.Errorf("the disk changed at %v", changes(before, after))
	}
	require.Equal(b.t, vars, b.values())
}

// onlyTarget requires that nothing changed but what belongs to slot B: see strays.
func (b *box) onlyTarget(before []byte, vars map[string][]byte) {
	b.t.Helper()
	require.Equal(b.t, vars, b.values())
	require.Empty(b.t, b.strays(before, b.content(), vars))
}

// strays are the changes on a disk, whose slot A runs and whose slot B was empty, that an upgrade has no business with:
// anything outside the boot file system; an entry of its tables that was in use; elsewhere in it anything that firmware
// and loader read to boot A; and that A, the same bytes, does not boot any more.
func (b *box) strays(before, after []byte, vars map[string][]byte) (found []string) {
	b.t.Helper()
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	start, size := b.f.place("EFI")
	watch := &watched{Reader: bytes.NewReader(before), read: map[int64]bool{}}
	was := watch.boot(b, vars)
	tables := tablesOf(before[start:])
	for _, off := range changes(before, after) {
		in := off - start
		switch {
		case in < 0 || in >= size:
			note("changed outside the boot file system, at %d", off)
		case in >= tables.begin && in < tables.end:
			for at := off; at < off+sector; at += 4 {
				if old := binary.LittleEndian.Uint32(before[at:]); old != 0 && !bytes.Equal(before[at:at+4],
					after[at:at+4]) {
					note("a table entry in use changed, at %d: %#x", at, old)
				}
			}
		case watch.read[off/sector]:
			note("changed what the loader reads to boot slot A, at %d", off)
		}
	}
	now := (&watched{Reader: bytes.NewReader(after), read: map[int64]bool{}}).boot(b, vars)
	if was.Digest != b.f.uki || now.Digest != was.Digest || now.Slot != was.Slot {
		note("booted %s, boots %s", was, now)
	}
	return found
}

// The judge itself: it sees one flipped bit wherever an upgrade must not write, and lets pass what it may.
func TestStraysAreSeen(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	start, size := f.place("EFI")
	metaAt, _ := f.place("META")
	tables := tablesOf(f.disk[start:])
	kernel := int64(bytes.Index(f.disk[start+tables.end:], []byte("kernel of 1.0.0"))) + start + tables.end
	conf := int64(bytes.Index(f.disk, []byte("default pawl-a.conf")))
	require.Positive(t, conf)
	for _, c := range []struct {
		name string
		off  int64
		seen bool
	}{
		{"the partition table", 512 + 60, true},
		{"META", metaAt + 100, true},
		{"behind the boot file system", start + size, true},
		{"a table entry in use", start + tables.begin + 4*2, true},
		{"the same in the second table", start + (tables.begin+tables.end)/2 + 4*2, true},
		{"a table entry that is free", start + (tables.begin+tables.end)/2 - 4096, false},
		{"the running system's kernel", kernel, true},
		{"the loader's configuration", conf + 9, true},
		{"a cluster that is free", start + size - 1<<20, false},
	} {
		after := bytes.Clone(f.disk)
		after[c.off] ^= 1
		require.Equal(t, c.seen, len(b.strays(f.disk, after, f.vars)) > 0, c.name)
	}
}

const sector = 512

// changes are the offsets of the sectors in which two disks differ.
func changes(a, b []byte) (offsets []int64) {
	const chunk = 1 << 20
	for i := 0; i < len(a); i += chunk {
		if bytes.Equal(a[i:min(i+chunk, len(a))], b[i:min(i+chunk, len(b))]) {
			continue
		}
		for j := i; j < min(i+chunk, len(a)); j += sector {
			if !bytes.Equal(a[j:j+sector], b[j:j+sector]) {
				offsets = append(offsets, int64(j))
			}
		}
	}
	return offsets
}

type extent struct{ begin, end int64 }

// tablesOf is where both tables of a FAT32 lie: offset 11 sector size, 14 reserved sectors, 16 tables, 36 sectors a
// table.
func tablesOf(volume []byte) extent {
	le := binary.LittleEndian
	unit := int64(le.Uint16(volume[11:]))
	begin := int64(le.Uint16(volume[14:])) * unit
	return extent{begin, begin + int64(volume[16])*int64(le.Uint32(volume[36:]))*unit}
}

// watched is a disk that remembers which sectors were read.
type watched struct {
	*bytes.Reader
	read map[int64]bool
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	for s := off / sector; s*sector < off+int64(len(p)); s++ {
		w.read[s] = true
	}
	return w.Reader.ReadAt(p, off)
}

func (w *watched) WriteAt([]byte, int64) (int, error) { return 0, fmt.Errorf("the model writes") }
func (w *watched) Sync() error                        { return nil }
func (w *watched) Size() int64                        { return w.Reader.Size() }
func (w *watched) SectorSize() int                    { return sector }

func (w *watched) boot(b *box, values map[string][]byte) predict.Outcome {
	b.t.Helper()
	vars, err := efivar.LoadMemory(values)
	require.NoError(b.t, err)
	out, err := predict.Boot(w, vars, predict.Options{SectorReads: true})
	require.NoError(b.t, err)
	return out
}
