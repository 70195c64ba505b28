package bootfs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// shapes are volumes as others make them: tables and data off the 4 KiB blocks, one table, large clusters and sectors.
var shapes = map[string]shape{
	"as ours": tiny,
	"data off the block": {unit: 512, sector: 512, perCluster: 8, reserved: 33, tables: 2, perTable: 81,
		clusters: 10_000},
	"second table off": {unit: 512, sector: 512, perCluster: 1, reserved: 32, tables: 2, perTable: 77,
		clusters: 9000},
	"all off": {unit: 512, sector: 512, perCluster: 2, reserved: 7, tables: 2, perTable: 83,
		clusters: 10_321},
	"one table": {unit: 512, sector: 512, perCluster: 4, reserved: 32, tables: 1, perTable: 80,
		clusters: 10_000},
	"16 KiB clusters": {unit: 512, sector: 512, perCluster: 32, reserved: 32, tables: 2, perTable: 64,
		clusters: 8000},
	"4096-byte sectors": {unit: 4096, sector: 4096, perCluster: 1, reserved: 8, tables: 2, perTable: 8,
		clusters: 8000},
	"4096 on a 512-byte device": {unit: 512, sector: 4096, perCluster: 2, reserved: 3, tables: 2, perTable: 8,
		clusters: 8000},
}

// model is what the volume must hold.
type model struct {
	t     *testing.T
	r     *rand.Rand
	dev   *disktest.Disk
	f     *bootfs.FS
	files map[string][]byte
}

func (m *model) pick(of func(string) bool) string {
	var paths []string
	for path := range m.files {
		if of(path) {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	sort.Strings(paths)
	return paths[m.r.IntN(len(paths))]
}

// step makes one random change in one zone and returns the zone, or "" if nothing was to be done.
func (m *model) step() string {
	zones := []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT"}
	zone := zones[m.r.IntN(len(zones))]
	in := func(path string) bool { return strings.HasPrefix(path, zone+"/") }
	name := fmt.Sprintf("%s/%s%d", zone, strings.Repeat("long name ", m.r.IntN(3)*m.r.IntN(9)), m.r.IntN(40))
	data := content(m.r.Uint64(), m.r.IntN([]int{600, 5000, 200_000}[m.r.IntN(3)]))
	switch m.r.IntN(9) {
	case 0, 1, 2:
		_, exists := m.files[name]
		w, err := m.f.Create(name, int64(len(data)))
		if exists {
			require.ErrorIs(m.t, err, fs.ErrExist)
			return ""
		}
		if errors.Is(err, bootfs.ErrFull) {
			return ""
		}
		require.NoError(m.t, err)
		if m.r.IntN(5) == 0 {
			_, err = w.Write(data[:len(data)/2])
			require.NoError(m.t, err)
			w.Abort()
			return zone
		}
		for p := data; len(p) > 0; {
			n := 1 + m.r.IntN(len(p))
			_, err = w.Write(p[:n])
			require.NoError(m.t, err)
			p = p[n:]
		}
		require.NoError(m.t, w.Close())
		m.files[name] = data
	case 3, 4:
		if err := m.f.WriteFile(name, data); errors.Is(err, bootfs.ErrFull) {
			return ""
		} else {
			require.NoError(m.t, err)
		}
		m.files[name] = data
	case 5, 6:
		if name = m.pick(in); name == "" {
			return ""
		}
		require.NoError(m.t, m.f.Remove(strings.ToUpper(name)))
		delete(m.files, name)
	case 7:
		name = m.pick(func(path string) bool { return in(path) && len(m.files[path]) > 0 && len(m.files[path]) <= 512 })
		if name == "" {
			return ""
		}
		data := content(m.r.Uint64(), len(m.files[name]))
		err := m.f.Overwrite(name, data)
		if zone != "EFI/BOOT" && errors.Is(err, bootfs.ErrShared) {
			return ""
		}
		require.NoError(m.t, err)
		m.files[name] = data
	case 8:
		if zone == "EFI/BOOT" || m.r.IntN(4) > 0 {
			return ""
		}
		require.NoError(m.t, m.f.Clear(zone))
		for path := range m.files {
			if in(path) {
				delete(m.files, path)
			}
		}
	}
	return zone
}

func TestRandomChangesOnVolumesOfAnyShape(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := uint64(len(name)) // the same each time
			steps := 80
			if long() {
				seed, steps = rand.Uint64(), 5000
			}
			t.Logf("seed %d", seed)
			dev := disktest.New(s.size(), s.unit)
			s.make(dev)
			m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), dev: dev, f: reopen(t, dev),
				files: map[string][]byte{}}
			for _, dir := range []string{"EFI/BOOT", "EFI/pawl/A", "EFI/pawl/B"} {
				require.NoError(t, m.f.Mkdir(dir))
			}
			before, err := readView(dev, nil)
			require.NoError(t, err)
			for range steps {
				if m.r.IntN(10) == 0 {
					m.f = reopen(t, dev)
				}
				dev.Record()
				zone := m.step()
				if zone == "" {
					continue
				}
				after, err := readView(dev, nil)
				require.NoError(t, err)
				require.Len(t, after.files, len(m.files))
				for path, data := range m.files {
					require.Equal(t, len(data), len(after.files[path]), path)
					require.Equal(t, string(data), string(after.files[path]), path)
				}
				m.isolated(zone, before, after)
				m.accounted(after)
				before = after
			}
			problems, err := m.f.Check()
			require.NoError(t, err)
			for _, p := range problems {
				require.Contains(t, p.Text, "marked used and belong to no file") // of the last removal, at most
			}
		})
	}
}

// isolated holds the last step's writes against what the others had before and have now.
func (m *model) isolated(zone string, before, after *view) {
	other := func(path string) bool {
		inSlot := strings.HasPrefix(path, "EFI/pawl/A") || strings.HasPrefix(path, "EFI/pawl/B")
		if zone == "EFI/BOOT" {
			return inSlot
		}
		return path != zone && !strings.HasPrefix(path, zone+"/")
	}
	blocks := before.blocks(other)
	for b, path := range after.blocks(other) {
		blocks[b] = path
	}
	if zone != "EFI/BOOT" {
		blocks[0] = "boot sector"
		blocks[before.fat[0]/4096], blocks[before.fat[1]/4096] = "table 1", "table 2"
	}
	for _, op := range m.dev.Trace().Ops {
		for b := op.Off / 4096; op.Action == disktest.Write && b*4096 < op.Off+int64(len(op.Data)); b++ {
			require.Empty(m.t, blocks[b], "change in %s: %v", zone, op)
		}
	}
}

// accounted holds Free against what Create takes.
func (m *model) accounted(v *view) {
	for _, zone := range []string{"EFI/pawl/A", "EFI/BOOT"} {
		free, err := m.f.Free(zone)
		require.NoError(m.t, err)
		w, err := m.f.Create(zone+"/new", free)
		require.NoError(m.t, err, "%d bytes are free in %s", free, zone)
		w.Abort()
		if free > 4096 || zone != "EFI/BOOT" { // smaller ones need a block of their own there
			_, err = m.f.Create(zone+"/new", free+1)
			require.ErrorIs(m.t, err, bootfs.ErrFull)
		}
		require.LessOrEqual(m.t, free, int64(v.clusters-uint32(len(v.taken)))*v.cluster)
	}
}

// On a volume of real size zones keep apart by the pages in which firmware caches, not by blocks alone, and a file that
// is overwritten in place has its page of data to itself.
func TestZonesMeetInNoPageOfTheFirmware(t *testing.T) {
	for name, s := range map[string]shape{
		"as ours": {unit: 512, sector: 512, perCluster: 1, reserved: 32, tables: 2, perTable: 544,
			clusters: 69_000},
		"data off the page": {unit: 512, sector: 512, perCluster: 1, reserved: 41, tables: 2, perTable: 545,
			clusters: 69_000},
		"clusters of 4 KiB": {unit: 512, sector: 512, perCluster: 8, reserved: 32, tables: 2, perTable: 544,
			clusters: 69_000},
		"clusters of 32 KiB": {unit: 4096, sector: 4096, perCluster: 8, reserved: 8, tables: 2, perTable: 68,
			clusters: 69_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev := disktest.New(s.size(), s.unit)
			s.make(dev)
			m := &model{t: t, r: rand.New(rand.NewPCG(uint64(len(name)), 1)), dev: dev, f: reopen(t, dev),
				files: map[string][]byte{}}
			for _, dir := range []string{"EFI/BOOT", "EFI/pawl/A", "EFI/pawl/B", "loader"} {
				require.NoError(t, m.f.Mkdir(dir))
			}
			require.NoError(t, m.f.WriteFile("loader/loader.conf", newData[:200]))
			for range 40 {
				m.step()
			}
			noSharedPage(t, mustView(t, dev), "loader/loader.conf")
		})
	}
}

func noSharedPage(t *testing.T, v *view, single string) {
	tables, data := map[int64]string{0: "the rest"}, map[int64]string{}
	put := func(pages map[int64]string, page int64, who string) {
		if was := pages[page]; was != "" {
			require.Equal(t, was, who, "page %d", page)
		}
		pages[page] = who
	}
	for path, chain := range v.chains {
		zone := "the rest"
		for _, z := range slotZones {
			if path == z || strings.HasPrefix(path, z+"/") {
				zone = z
			}
		}
		for _, c := range chain {
			put(tables, 4*int64(c)/(32<<10), zone)
			if path == single {
				zone = single
			}
			at := int64(c-2) * v.cluster
			for page := at / (64 << 10); page <= (at+v.cluster-1)/(64<<10); page++ {
				put(data, page, zone)
			}
		}
	}
	require.Greater(t, len(tables), 2, "three zones")
}

func TestTwoSlotsHaveHalfOfTheVolumeEach(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev := disktest.New(s.size(), s.unit)
			s.make(dev)
			f := reopen(t, dev)
			for _, dir := range []string{"EFI/BOOT", "EFI/pawl/A", "EFI/pawl/B"} {
				require.NoError(t, f.Mkdir(dir))
			}
			require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", content(1, 50_000)))
			cluster := int64(s.sector * s.perCluster)
			// A block of the tables each for what is in neither slot and for every border between zones.
			half := (int64(s.clusters) - 4*1024) / 2 * cluster
			r := rand.New(rand.NewPCG(1, 2))
			for cycle := range 12 {
				zone := slotZones[cycle%2]
				require.NoError(t, f.Clear(zone))
				left := half
				for i := 0; left > 0; i++ {
					n := min(left, 1+r.Int64N(half/2))
					w, err := f.Create(fmt.Sprintf("%s/file%d", zone, i), n)
					require.NoError(t, err, "cycle %d", cycle)
					_, err = io.CopyN(w, zeros{}, n)
					require.NoError(t, err)
					require.NoError(t, w.Close())
					left -= (n + cluster - 1) / cluster * cluster
				}
				if cycle%3 == 0 {
					f = reopen(t, dev)
				}
			}
			noProblems(t, f)
		})
	}
}

func TestTwoSlotsHaveHalfOfAGigabyteEach(t *testing.T) {
	const page = 32 << 20 // what one page of the table stands for: the rest has one, and one is lost to the border
	_, f := volume(t, 1<<30, 512)
	for _, dir := range slotZones {
		require.NoError(t, f.Mkdir(dir))
	}
	require.NoError(t, f.WriteFile("EFI/BOOT.EFI", content(1, 100_000)))
	for cycle := range 4 {
		zone := slotZones[cycle%2]
		require.NoError(t, f.Clear(zone))
		const half = (1<<30 - 2*page) / 2
		w, err := f.Create(zone+"/os.efi", half-5<<20)
		require.NoError(t, err, "cycle %d", cycle)
		_, err = io.CopyN(w, zeros{}, half-5<<20)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, f.WriteFile(zone+"/manifest.json", content(1, 500)))
	}
	noProblems(t, f)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
