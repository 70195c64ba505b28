package bootfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// operation is one change and what may be left of it.
type operation struct {
	name  string
	shape *shape                                               // nil: tiny
	start func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) // before recording; may be nil
	do    func(f *bootfs.FS) error
	// what a killed program did before, recorded too
	killed func(t testing.TB, dev *disktest.Disk, f *bootfs.FS)
	may    map[string][][]byte // contents that a path may have meanwhile, nil for none; other paths do not change
	must   map[string][]byte   // and afterwards; nil: gone
	dirs   []string            // that must exist afterwards
	lose   bool                // a destroyed block may cost what lies outside zone B too
}

var newData = content(99, 2500)

const longName = "EFI/pawl/B/a name of so many characters that its parts need more than one sector of the directory, " +
	"which " +
	"makes the entry appear in two writes unless the parts that cannot be seen come first, and that is what this " +
	"file is here for.conf"

func operations() []operation {
	write := func(path string, data []byte) func(*bootfs.FS) error {
		return func(f *bootfs.FS) error { return f.WriteFile(path, data) }
	}
	create := func(path string, data []byte) func(*bootfs.FS) error {
		return func(f *bootfs.FS) error {
			w, err := f.Create(path, int64(len(data)))
			if err != nil {
				return err
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
			return w.Close()
		}
	}
	remove := func(path string) func(*bootfs.FS) error {
		return func(f *bootfs.FS) error { return f.Remove(path) }
	}
	clearB := func(f *bootfs.FS) error { return f.Clear("EFI/pawl/B") }
	clearFirst := func(t testing.TB, _ *disktest.Disk, f *bootfs.FS) { require.NoError(t, clearB(f)) }
	old := func(i int) []byte { return content(uint64(i), []int{3000, 200, 512}[i%3]) }
	gone := map[string][]byte{"EFI/pawl/B/os.efi": nil, "EFI/pawl/B/initrd": nil, "EFI/pawl/B/manifest.json": nil}
	// the directory's next cluster has its entry in another sector of the table
	big := func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) {
		clearFirst(t, dev, f)
		require.NoError(t, f.WriteFile("EFI/pawl/B/big", content(1, 100_000)))
	}
	fill := func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) {
		clearFirst(t, dev, f)
		for i := range 7 { // two slots each: the cluster is full
			require.NoError(t, f.WriteFile(fmt.Sprintf("EFI/pawl/B/f%d", i), nil))
		}
	}
	many := map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), nil}, "EFI/pawl/B/initrd": {old(7), nil},
		"EFI/pawl/B/manifest.json": {old(8), nil}}
	manyGone := map[string][]byte{}
	for i := range 20 {
		many[fmt.Sprintf("EFI/pawl/B/more%d", i)] = [][]byte{[]byte("x"), nil}
	}
	for path := range many {
		manyGone[path] = nil
	}
	more := func(t testing.TB, _ *disktest.Disk, f *bootfs.FS) { // entries in several sectors
		for i := range 20 {
			require.NoError(t, f.WriteFile(fmt.Sprintf("EFI/pawl/B/more%d", i), []byte("x")))
		}
	}
	manyAnd := maps.Clone(many)
	x190 := "EFI/pawl/B/" + strings.Repeat("x", 190)
	manyAnd[x190] = [][]byte{nil, newData}
	return []operation{
		{name: "clear a slot of many entries", shape: &wide, start: more, do: clearB, may: many, must: manyGone},
		{name: "clear a slot of many entries, then create over the old ones", shape: &wide, start: more,
			do: func(f *bootfs.FS) error {
				return errors.Join(clearB(f), create(x190, newData)(f))
			}, may: manyAnd, must: map[string][]byte{x190: newData}},
		{name: "create over what others left behind the end mark", shape: &wide, do: create(x190, newData),
			start: func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) {
				clearFirst(t, dev, f)
				v := mustView(t, dev)
				at := v.data + int64(v.chains["EFI/pawl/B"][0]-2)*v.cluster
				dev.WriteAt(bytes.Repeat([]byte("STALE   BIN "+
					"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 100), at+96)
			}, may: map[string][][]byte{x190: {nil, newData}}, must: map[string][]byte{x190: newData}},
		{name: "create where a sector has one slot left", shape: &wide, do: create("EFI/pawl/B/new", newData),
			start: func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) {
				clearFirst(t, dev, f)
				for i := range 13 {
					require.NoError(t, f.WriteFile(fmt.Sprintf("EFI/pawl/B/F%d", i), nil))
				}
			}, may: map[string][][]byte{"EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/new": newData}},
		{name: "create after a removal that was killed before its flush", do: func(f *bootfs.FS) error {
			return write("EFI/pawl/B/new", newData)(f)
		}, killed: func(t testing.TB, dev *disktest.Disk, f *bootfs.FS) {
			dev.FailAt(2, disktest.SyncFails)
			require.Error(t, f.Remove("EFI/pawl/B/os.efi"))
		}, may: map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), nil}, "EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/os.efi": nil, "EFI/pawl/B/new": newData}},
		{name: "clear a slot", do: clearB, must: gone, may: map[string][][]byte{
			"EFI/pawl/B/os.efi": {old(6), nil}, "EFI/pawl/B/initrd": {old(7), nil}, "EFI/pawl/B/manifest.json": {old(8),
				nil}}},
		{name: "create", do: create("EFI/pawl/B/new", newData), start: clearFirst,
			may:  map[string][][]byte{"EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/new": newData}},
		{name: "clear, then create where the old file was", do: func(f *bootfs.FS) error {
			return errors.Join(clearB(f), write("EFI/pawl/B/new", newData)(f))
		}, may: map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), nil}, "EFI/pawl/B/initrd": {old(7), nil},
			"EFI/pawl/B/manifest.json": {old(8), nil}, "EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/new": newData}},
		{name: "create in a full directory", do: create("EFI/pawl/B/new", newData), start: fill,
			may:  map[string][][]byte{"EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/new": newData}},
		{name: "create with a name that fills a sector", do: create("EFI/pawl/B/"+strings.Repeat("x", 190), newData),
			start: clearFirst,
			may:   map[string][][]byte{"EFI/pawl/B/" + strings.Repeat("x", 190): {nil, newData}},
			must:  map[string][]byte{"EFI/pawl/B/" + strings.Repeat("x", 190): newData}},
		{name: "create with a name of two sectors", do: create(longName, newData), start: big,
			may: map[string][][]byte{longName: {nil, newData}}, must: map[string][]byte{longName: newData}},
		{name: "remove", do: remove("EFI/pawl/B/os.efi"),
			may:  map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), nil}},
			must: map[string][]byte{"EFI/pawl/B/os.efi": nil}},
		{name: "remove a name of two sectors", do: remove(longName),
			start: func(t testing.TB, _ *disktest.Disk, f *bootfs.FS) {
				require.NoError(t,
					f.WriteFile(longName, newData))
			},
			may: map[string][][]byte{longName: {newData, nil}}, must: map[string][]byte{longName: nil}},
		{name: "remove, then create where it was", do: func(f *bootfs.FS) error {
			return errors.Join(f.Remove("EFI/pawl/B/os.efi"), write("EFI/pawl/B/new", newData)(f))
		}, may: map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), nil}, "EFI/pawl/B/new": {nil, newData}},
			must: map[string][]byte{"EFI/pawl/B/os.efi": nil, "EFI/pawl/B/new": newData}},
		{name: "replace in a slot", do: write("EFI/pawl/B/os.efi", newData),
			may:  map[string][][]byte{"EFI/pawl/B/os.efi": {old(6), newData}},
			must: map[string][]byte{"EFI/pawl/B/os.efi": newData}},
		{name: "overwrite in place", do: func(f *bootfs.FS) error {
			return f.Overwrite("loader/loader.conf",
				newData[:200])
		},
			may:  map[string][][]byte{"loader/loader.conf": {old(1), newData[:200]}},
			must: map[string][]byte{"loader/loader.conf": newData[:200]}},
		{name: "replace the loader", do: write("EFI/BOOT/BOOTX64.EFI", newData), lose: true,
			may:  map[string][][]byte{"EFI/BOOT/BOOTX64.EFI": {old(0), newData}},
			must: map[string][]byte{"EFI/BOOT/BOOTX64.EFI": newData}},
		{name: "make directories", do: func(f *bootfs.FS) error { return f.Mkdir("EFI/other/below") }, lose: true,
			dirs: []string{"EFI/other", "EFI/other/below"}},
	}
}
