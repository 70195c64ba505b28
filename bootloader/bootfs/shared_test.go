package bootfs_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

func TestAFileThatSharesItsBlockIsNotOverwritten(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	// Others put small files side by side: give loader.conf's neighbour to a file by hand.
	c := v.chains["loader/loader.conf"][0]
	f, err := bootfs.Open(dev, bootfs.Options{})
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("neighbour", newData))
	v = mustView(t, dev)
	from := v.chains["neighbour"]
	for copy := range 2 {
		dev.WriteAt(u32(c^1), v.entryAt(copy, from[0]))
		for _, next := range from[1:] {
			dev.WriteAt(u32(0), v.entryAt(copy, next))
		}
		dev.WriteAt(u32(0x0fffffff), v.entryAt(copy, c^1))
	}
	f = reopen(t, dev)
	err = f.Overwrite("loader/loader.conf", newData[:200])
	require.ErrorIs(t, err, bootfs.ErrShared)
	require.ErrorContains(t, err, "replace it once")
	require.NoError(t, f.WriteFile("loader/loader.conf", newData[:200]))
	require.NoError(t, f.Overwrite("loader/loader.conf", newData[200:400]))
}

// mixed is a volume that somebody else filled: the slots' files lie between each other.
func mixed(t testing.TB, s shape) *disktest.Disk {
	dev := disktest.New(s.size(), s.unit)
	s.make(dev)
	f, err := bootfs.Open(dev, bootfs.Options{Now: clock})
	require.NoError(t, err)
	for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT"} {
		require.NoError(t, f.Mkdir(dir))
		require.NoError(t, f.WriteFile(dir+"/os.efi", content(9, 5001)))
	}
	return dev
}

func TestSlotsThatAreNotIsolatedAreRefused(t *testing.T) {
	dev := mixed(t, tiny)
	f := reopen(t, dev)
	problems, err := f.Check()
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	require.Contains(t, problems[0].Text, "shared between zones")
	dev.Record()
	for _, err := range []error{f.Clear("EFI/pawl/B"), f.Remove("EFI/pawl/B/os.efi"), f.WriteFile("EFI/pawl/B/os.efi",
		newData), f.WriteFile("EFI/pawl/B/x", nil)} {
		require.ErrorIs(t, err, bootfs.ErrShared)
	}
	require.Empty(t, dev.Trace().Writes())

	// The way out that the error names.
	f, err = bootfs.Open(dev, bootfs.Options{Now: clock})
	require.NoError(t, err)
	for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B"} {
		require.NoError(t, f.Remove(dir+"/os.efi"))
		require.NoError(t, f.Remove(dir))
	}
	f = reopen(t, dev)
	for _, dir := range slotZones {
		require.NoError(t, f.Mkdir(dir))
		require.NoError(t, f.WriteFile(dir+"/os.efi", newData))
	}
	noProblems(t, f)
}

func TestASlotsDirectoryDoesNotGrowInASharedBlockOfTheTables(t *testing.T) {
	dev := mixed(t, wide) // with clusters of a block, only the tables are shared
	f := reopen(t, dev)
	require.ErrorIs(t, f.Clear("EFI/pawl/B"), bootfs.ErrShared)
	var err error
	for i := 0; err == nil; i++ {
		require.Less(t, i, 128)
		dev.Record()
		err = f.WriteFile(fmt.Sprintf("EFI/pawl/B/F%d", i), nil)
	}
	require.ErrorIs(t, err, bootfs.ErrShared)
	require.ErrorContains(t, err, "cannot grow")
	require.Empty(t, dev.Trace().Writes())
	// What lies in a shared block stays marked when its file goes, and is nobody's until the block is one owner's.
	require.NoError(t, f.Remove("EFI/pawl/B/os.efi"))
	problems, err := f.Check()
	require.NoError(t, err)
	require.Len(t, problems, 2)
	require.Contains(t, problems[0].Text, "2 clusters are marked used")
}

func TestTablesThatDifferAreNotMendedInOthersBlocks(t *testing.T) {
	shapes := maps.Clone(shapes)
	shapes["as large as a real one"] = shape{unit: 512, sector: 512, perCluster: 1, reserved: 32, tables: 2,
		perTable: 544, clusters: 69_000}
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			dev := installed(t, s)
			v := mustView(t, dev)
			pages := map[int64]string{} // of the first table, in which firmware caches it
			for path, chain := range v.chains {
				for _, c := range chain {
					if notInB(path) && s.clusters > 65_525 {
						pages[int64(c)*4/(32<<10)] = path
					}
				}
			}
			for c := uint32(2); c < v.clusters+2; c++ {
				if e, _ := v.entry(0, c); e == 0 && s.tables == 2 {
					dev.WriteAt(u32(0x0fffffff), v.entryAt(1, c))
				}
			}
			f := reopen(t, dev)
			dev.Record()
			require.NoError(t, f.WriteFile("EFI/pawl/B/new", newData))
			foreign := v.blocks(notInB)
			for _, op := range dev.Trace().Ops {
				for b := op.Off / 4096; op.Action == disktest.Write && b*4096 < op.Off+int64(len(op.Data)); b++ {
					require.Empty(t, foreign[b], "%v", op)
					if at := b*4096 - v.fat[0]; at >= 0 && at < v.fatBytes {
						require.Empty(t, pages[at/(32<<10)], "%v", op)
					}
				}
			}
		})
	}
}
