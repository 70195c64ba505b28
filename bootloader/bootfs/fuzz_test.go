package bootfs_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// foreign reads a volume that other programs made; see testdata/make.sh.
func foreign(t testing.TB, name string, sector int) *disktest.Disk {
	f, err := os.Open(filepath.Join("testdata", name+".img.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	dev := disktest.New(int64(len(data)), sector)
	for off := 0; off < len(data); off += 4096 {
		if page := data[off:min(off+4096, len(data))]; len(bytes.Trim(page, "\x00")) > 0 {
			_, err := dev.WriteAt(page, int64(off))
			require.NoError(t, err)
		}
	}
	return dev
}

var foreignDisks [2]*disktest.Disk

func foreigners(t testing.TB) []*disktest.Disk {
	installsLock.Lock()
	defer installsLock.Unlock()
	var out []*disktest.Disk
	for i, name := range []string{"small", "crooked"} {
		if foreignDisks[i] == nil {
			foreignDisks[i] = foreign(t, name, 512)
		}
		out = append(out, foreignDisks[i].Clone())
	}
	return out
}

func TestForeignVolumes(t *testing.T) {
	for i, dev := range foreigners(t) {
		v := mustView(t, dev)
		require.Len(t, v.files, 11, "volume %d", i)
		f := reopen(t, dev)
		for path, data := range v.files {
			got, err := f.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, data, got, path)
		}
		noProblemsButSharing(t, f)
		f, err := bootfs.Open(dev, bootfs.Options{})
		require.NoError(t, err)
		require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", newData))
		noProblems(t, f)
		after := mustView(t, dev)
		require.NoError(t, v.same(after, func(path string) bool { return path != "EFI/BOOT/BOOTX64.EFI" }))
	}
}

// noProblemsButSharing is for volumes whose slots others filled.
func noProblemsButSharing(t testing.TB, f *bootfs.FS) {
	problems, err := f.Check()
	require.NoError(t, err)
	for _, p := range problems {
		require.Contains(t, p.Text, "shared between zones")
	}
}

// guarded is a device that notes writes to what must never be written.
type guarded struct {
	*disktest.Disk
	first, end int64 // of tables and data
	err        error
}

func (g *guarded) WriteAt(p []byte, off int64) (int, error) {
	if off < g.first || off+int64(len(p)) > g.end {
		g.err = fmt.Errorf("%d bytes written at %d, the volume's tables and data are %d to %d", len(p), off, g.first,
			g.end)
	}
	return g.Disk.WriteAt(p, off)
}

// spoil changes a volume as the bytes say: each record of eight is a place (boot sector, table 1, table 2, a
// directory, anywhere), where in it, how many bytes, and which.
func spoil(dev *disktest.Disk, v *view, dirs []int64, data []byte) {
	for ; len(data) >= 8; data = data[8:] {
		at := int64(binary.LittleEndian.Uint16(data[1:]))
		switch place := int(data[0]) % (len(dirs) + 4); place {
		case 0:
			at %= 512
		case 1, 2:
			at = v.fat[place-1] + at%v.fatBytes
		case 3:
			at *= 512
		default:
			at = dirs[place-4] + at%v.cluster
		}
		if n := int64(data[3]%5) + 1; data[3] < 250 && at+n < dev.Size() {
			dev.WriteAt(append(data[4:8:8], 0)[:n], at)
		} else {
			dev.Spoil(at, 1)
		}
	}
}

// exercise does everything to a volume and reports what must not be, whatever the volume.
func exercise(dev *disktest.Disk) error {
	g := &guarded{Disk: dev}
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return nil
	}
	sector := int64(binary.LittleEndian.Uint16(b[11:]))
	g.first = int64(binary.LittleEndian.Uint16(b[14:])) * sector
	g.end = int64(binary.LittleEndian.Uint32(b[32:])) * sector
	if g.end == 0 {
		g.end = int64(binary.LittleEndian.Uint16(b[19:])) * sector
	}
	g.end = min(g.end, dev.Size())
	f, err := bootfs.Open(g, bootfs.Options{Zones: slotZones, Now: clock})
	if err != nil {
		return nil
	}
	before := map[string][]byte{}
	readAll(f, "", before, new(int))
	crossed := false // what is in two files changes with each of them
	problems, err := f.Check()
	if err != nil {
		return err
	}
	for _, p := range problems {
		crossed = crossed || strings.Contains(p.Text, "shares clusters")
	}
	for _, zone := range []string{"EFI/pawl/B", "loader"} {
		inZone := map[string][]byte{}
		readAll(f, zone, inZone, new(int))
		own := func(path string) bool { // a directory on the way may go by another name too
			for known := range inZone {
				if strings.HasSuffix(path, known[len(zone):]) {
					return true
				}
			}
			return false
		}
		var names []string
		if infos, err := f.ReadDir(zone); err == nil {
			for _, i := range infos {
				names = append(names, zone+"/"+i.Name)
			}
		}
		if len(names) > 0 {
			_ = f.Remove(names[0])
			_ = f.Overwrite(names[len(names)-1], make([]byte, len(before[names[len(names)-1]])))
			_ = f.WriteFile(names[len(names)-1], newData)
		}
		_ = f.Mkdir(zone + "/sub/sub")
		_ = f.WriteFile(zone+"/a name that is long", newData)
		if free, err := f.Free(zone); err == nil && free < 1<<20 {
			if w, err := f.Create(zone+"/all", free); err == nil {
				_, _ = w.ReadFrom(io.LimitReader(zeros{}, free))
				_ = w.Close()
			}
		}
		if zone == "EFI/pawl/B" {
			_ = f.Clear(zone)
			_ = f.WriteFile(zone+"/os.efi", newData)
		}
		after := map[string][]byte{}
		readAll(f, "", after, new(int))
		for path, data := range before {
			if got, ok := after[path]; !crossed && !own(path) && (!ok || !bytes.Equal(got, data)) {
				return fmt.Errorf("changes in %s cost %s", zone, path)
			}
		}
		before = after
	}
	if g.err != nil {
		return g.err
	}
	if problems, err = f.Check(); err != nil {
		return err
	}
	if len(problems) > 100 {
		return errors.New("more problems than are kept")
	}
	return nil
}

// readAll reads what can be read, in a bounded number of steps.
func readAll(f *bootfs.FS, dir string, files map[string][]byte, steps *int) {
	infos, err := f.ReadDir(dir)
	if err != nil {
		return
	}
	for _, i := range infos {
		if *steps++; *steps > 500 || len(dir) > 2000 {
			return
		}
		path := dir + "/" + i.Name
		if dir == "" {
			path = i.Name
		}
		if i.Dir {
			readAll(f, path, files, steps)
			continue
		}
		if i.Size > 1<<20 {
			continue // damaged, or slow
		}
		if data, err := f.ReadFile(path); err == nil {
			files[path] = data
		}
	}
}

func FuzzVolume(f *testing.F) {
	type base struct {
		dev  *disktest.Disk
		view *view
		dirs []int64
	}
	var bases []base
	devs := foreigners(f)
	devs = append(devs,
		installed(f, shape{unit: 512, sector: 512, perCluster: 1, reserved: 32, tables: 2, perTable: 40,
			clusters: 5000}),
		installed(f, shape{unit: 512, sector: 512, perCluster: 2, reserved: 7, tables: 2, perTable: 43,
			clusters: 5321}))
	for _, dev := range devs {
		v := mustView(f, dev)
		b := base{dev: dev, view: v}
		for _, dir := range []string{"", "EFI", "EFI/pawl", "EFI/pawl/A", "EFI/pawl/B", "loader"} {
			b.dirs = append(b.dirs, v.data+int64(v.chains[dir][0]-2)*v.cluster)
		}
		bases = append(bases, b)
	}
	if len(bases) == 0 {
		f.Fatal("no volumes to start from")
	}
	for i := range bases {
		f.Add(byte(i), content(uint64(i), 80))
		if bases[i].dev.Size() > 20<<20 {
			continue // large ones take long
		}
		f.Add(byte(i), []byte{1, 20, 0, 3, 2, 0, 0, 0}) // the root's chain in a circle
		f.Add(byte(i), []byte{4, 26, 0, 1, 2, 0, 0, 0}) // a directory that is the root
		f.Add(byte(i), []byte{8, 11, 0, 0, 0x10, 0, 0, 0, 0, 13, 0, 0, 64, 0, 0,
			0}) // files that are directories; large clusters
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		b := bases[len(bases)-1-int(which)%2] // the small ones
		if int(which) < len(bases) {
			b = bases[which]
		}
		if len(patches) > 400 {
			return
		}
		dev := b.dev.Clone()
		spoil(dev, b.view, b.dirs, patches)
		if err := exercise(dev); err != nil {
			t.Fatal(err)
		}
	})
}
