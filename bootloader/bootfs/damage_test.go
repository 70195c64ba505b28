package bootfs_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// entryAt is where a table has the entry of a cluster.
func (v *view) entryAt(copy int, c uint32) int64 { return v.fat[copy] + 4*int64(c) }

func mustView(t testing.TB, dev *disktest.Disk) *view {
	v, err := readView(dev, nil)
	require.NoError(t, err)
	return v
}

func u32(x uint32) []byte { return binary.LittleEndian.AppendUint32(nil, x) }

func TestTablesThatDiffer(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	// The second table says of A's and B's files that they are free, and of a free cluster that it is used.
	for path, chain := range v.chains {
		if strings.HasPrefix(path, "EFI/pawl/") {
			for _, c := range chain {
				dev.WriteAt(u32(0), v.entryAt(1, c))
			}
		}
	}
	dev.WriteAt(u32(0x0fffffff), v.entryAt(1, 7000))
	f := reopen(t, dev)
	problems, err := f.Check()
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "tables differ")
	require.NoError(t, v.same(mustView(t, dev), all), "reading goes by the first")
	data, err := f.ReadFile("EFI/pawl/A/os.efi")
	require.NoError(t, err)
	require.Equal(t, v.files["EFI/pawl/A/os.efi"], data)
	// A change in B brings the two together in B's blocks and in those that nobody has, and nowhere else.
	require.NoError(t, f.WriteFile("EFI/pawl/B/new", newData))
	for path, chain := range mustView(t, dev).chains {
		for _, c := range chain {
			one, err := v.entry(0, c)
			require.NoError(t, err)
			two, err := v.entry(1, c)
			require.NoError(t, err)
			require.Equal(t, !strings.HasPrefix(path, "EFI/pawl/A"), one == two, "%s cluster %d", path, c)
		}
	}
	two, err := v.entry(1, 7000)
	require.NoError(t, err)
	require.Zero(t, two)
}

func TestAnUnreadableFirstTableIsNotPaperedOver(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	free, err := reopen(t, dev).Free("EFI/pawl/B")
	require.NoError(t, err)
	at := v.entryAt(0, v.chains["EFI/pawl/A/os.efi"][0])
	dev.Spoil(at, 1)
	f := reopen(t, dev)
	_, err = f.ReadFile("EFI/pawl/A/os.efi")
	require.ErrorIs(t, err, disktest.ErrUnreadable, "firmware cannot read it either")
	problems, err := f.Check()
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "cannot be read")
	// The second table still says whose the clusters are.
	now, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	require.Equal(t, free, now)
	require.NoError(t, f.WriteFile("EFI/pawl/B/new", newData))
	require.NoError(t, f.Clear("EFI/pawl/A"))
	require.NoError(t, f.WriteFile("EFI/pawl/A/new", newData))
	noProblems(t, f)
}

func TestBothTablesUnreadable(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	for copy := range 2 {
		dev.Spoil(v.entryAt(copy, v.chains["EFI/pawl/B"][0]), 1)
	}
	f := reopen(t, dev)
	_, err := f.Stat("EFI/pawl/B/os.efi")
	require.NoError(t, err, "its directory's first cluster is whole")
	_, err = f.ReadFile("EFI/pawl/B/os.efi")
	require.ErrorIs(t, err, disktest.ErrUnreadable)
	require.NoError(t, f.Clear("EFI/pawl/B"))
	require.NoError(t, f.WriteFile("EFI/pawl/B/os.efi", newData))
	noProblems(t, f)
	require.NoError(t, v.same(mustView(t, dev), notInB))
}

func TestADirtyVolumeIsUsedAndItsMarksAreLeft(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	marked := func() {
		problems, err := reopen(t, dev).Check()
		require.NoError(t, err)
		require.NotEmpty(t, problems)
		require.Contains(t, problems[len(problems)-1].Text, "marked as in use")
	}
	dev.WriteAt([]byte{1}, 65) // as Linux marks it
	marked()
	dev.WriteAt([]byte{0}, 65)
	dev.WriteAt(u32(0x03ffffff), v.entryAt(0, 1)) // as Windows does
	marked()
	dev.WriteAt([]byte{1}, 65)
	free := v.chains["EFI/pawl/B/manifest.json"][0] + 1
	dev.WriteAt(u32(0xa0000000), v.entryAt(0, free)) // reserved bits of an entry
	f := reopen(t, dev)
	require.NoError(t, f.Mkdir("EFI/more"))
	require.NoError(t, f.WriteFile("EFI/pawl/B/new", newData))
	require.Equal(t, free, mustView(t, dev).chains["EFI/pawl/B/new"][0])
	b := make([]byte, 512)
	dev.ReadAt(b, 0)
	require.Equal(t, byte(1), b[65])
	dev.ReadAt(b, v.entryAt(0, 0))
	require.Equal(t, u32(0x03ffffff), b[4:8])
	dev.ReadAt(b, v.entryAt(0, free))
	require.Equal(t, byte(0xa0), b[3]&0xf0)
}

func TestBadClustersAreNeverUsed(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	bad := 0
	for c := uint32(2); c < v.clusters+2; c += 3 {
		if e, _ := v.entry(0, c); e == 0 {
			for copy := range 2 {
				dev.WriteAt(u32(0x0ffffff7), v.entryAt(copy, c))
			}
			bad++
		}
	}
	f := reopen(t, dev)
	free, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	require.NoError(t, f.Clear("EFI/pawl/A"))
	w, err := f.Create("EFI/pawl/B/all", free)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, free))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, f.Remove("EFI/pawl/B/all"))
	require.NoError(t, f.Clear("EFI/pawl/B"))
	left := 0
	for c := uint32(2); c < v.clusters+2; c++ {
		if e, _ := v.entry(0, c); e == 0x0ffffff7 {
			left++
		}
	}
	require.Equal(t, bad, left)
	noProblems(t, f)
}

// destroy overwrites what B has on the disk, piece by piece: its part of the first table, of both, its directory.
func TestASlotDestroyedInAnyWayCanBeUsedAgain(t *testing.T) {
	fills := map[string][]byte{"zeros": make([]byte, 4096), "ones": bytes.Repeat([]byte{0xff}, 4096),
		"junk": content(5, 4096), "unreadable": nil}
	for name, fill := range fills {
		for _, what := range []string{"table 1", "table 2", "both tables", "directory", "all"} {
			t.Run(name+" in "+what, func(t *testing.T) {
				dev := installed(t, tiny)
				v := mustView(t, dev)
				first := v.chains["EFI/pawl/B"][0]
				destroy := func(off, n int64) {
					if fill == nil {
						dev.Spoil(off, n)
						return
					}
					dev.WriteAt(fill[:n], off)
				}
				if what == "table 1" || what == "both tables" || what == "all" {
					destroy(v.entryAt(0, first)&^4095, 4096)
				}
				if what == "table 2" || what == "both tables" || what == "all" {
					destroy(v.entryAt(1, first)&^4095, 4096)
				}
				if what == "directory" || what == "all" {
					destroy(v.data+int64(first-2)*v.cluster, v.cluster)
				}
				f := reopen(t, dev)
				_, err := f.ReadDir("EFI/pawl/A")
				require.NoError(t, err)
				require.NoError(t, f.WriteFile("EFI/BOOT/more", newData), "others are not held up")
				require.NoError(t, f.WriteFile("EFI/pawl/A/more", newData))
				require.NoError(t, f.Clear("EFI/pawl/B"))
				require.Empty(t, names(t, f, "EFI/pawl/B"))
				require.NoError(t, f.WriteFile("EFI/pawl/B/os.efi", newData))
				noProblems(t, f)
				after := mustView(t, dev)
				require.NoError(t, v.same(after, func(path string) bool {
					return notInB(path) &&
						!strings.HasSuffix(path, "/more")
				}))
				require.Equal(t, newData, after.files["EFI/pawl/B/os.efi"])
			})
		}
	}
}

func TestASlotKeepsItsPlaceWhenItsTableIsDestroyed(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	first := v.chains["EFI/pawl/B"][0]
	dev.WriteAt(make([]byte, 4096), v.entryAt(0, first)&^4095)
	f := reopen(t, dev)
	require.NoError(t, f.Clear("EFI/pawl/A"))
	for _, dir := range []string{"EFI/BOOT", "EFI/pawl/A"} {
		free, err := f.Free(dir)
		require.NoError(t, err)
		require.NoError(t, f.WriteFile(dir+"/all", make([]byte, free)))
	}
	require.NoError(t, f.Clear("EFI/pawl/B"))
	noProblems(t, f)
}

func TestFilesThatShareClusters(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.WriteFile("EFI/BOOT/one", newData))
	require.NoError(t, f.WriteFile("EFI/BOOT/two", newData))
	v := mustView(t, dev)
	one, two := v.chains["EFI/BOOT/one"], v.chains["EFI/BOOT/two"]
	for copy := range 2 {
		dev.WriteAt(u32(one[2]), v.entryAt(copy, two[1]))
	}
	f = reopen(t, dev)
	problems, err := f.Check()
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	require.Contains(t, problems[0].Text, "shares clusters")
	require.NoError(t, f.Remove("EFI/BOOT/two"))
	require.NoError(t, f.WriteFile("EFI/BOOT/three", make([]byte, 30000)))
	data, err := f.ReadFile("EFI/BOOT/one")
	require.NoError(t, err)
	require.Equal(t, newData, data, "what two files have is not freed with one of them")
}

func TestClearingAClearSlotWritesNothing(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.Clear("EFI/pawl/B"))
	dev.Record()
	require.NoError(t, f.Clear("EFI/pawl/B"))
	require.NoError(t, reopen(t, dev).Clear("efi/PAWL/b"))
	require.Empty(t, dev.Trace().Writes())
}

func TestOverwriteHealsASectorThatCannotBeRead(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	dev.Spoil(v.data+int64(v.chains["loader/loader.conf"][0]-2)*v.cluster, 1)
	f := reopen(t, dev)
	_, err := f.ReadFile("loader/loader.conf")
	require.ErrorIs(t, err, disktest.ErrUnreadable)
	require.NoError(t, f.Overwrite("loader/loader.conf", newData[:200]))
	data, err := f.ReadFile("loader/loader.conf")
	require.NoError(t, err)
	require.Equal(t, newData[:200], data)
}

func TestOverwriteWithTheSameWritesNothingAndFlushes(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.Overwrite("loader/loader.conf", newData[:200]))
	dev.Record()
	require.NoError(t, f.Overwrite("loader/loader.conf", newData[:200]))
	require.Empty(t, dev.Trace().Writes())
	require.Len(t, dev.Trace().Flushes(), 1, "a killed program may have left it in a cache only")
}

// A file that is larger than the volume, whose chain runs in a circle, would never end.
func TestAChainInACircle(t *testing.T) {
	dev := installed(t, tiny)
	v := mustView(t, dev)
	chain := v.chains["EFI/BOOT/BOOTX64.EFI"]
	for copy := range 2 {
		dev.WriteAt(u32(chain[0]), v.entryAt(copy, chain[len(chain)-1]))
	}
	sector := make([]byte, v.cluster)
	at := v.data + int64(v.chains["EFI/BOOT"][0]-2)*v.cluster
	dev.ReadAt(sector, at)
	name := bytes.Index(sector, []byte("BOOTX64 EFI"))
	require.Positive(t, name)
	dev.WriteAt(u32(0xffffffff), at+int64(name)+28)
	f := reopen(t, dev)
	_, err := f.Open("EFI/BOOT/BOOTX64.EFI")
	require.ErrorIs(t, err, bootfs.ErrDamaged)
	require.ErrorContains(t, err, "more than the volume has")
	problems, err := f.Check()
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	require.Equal(t, "EFI/BOOT/BOOTX64.EFI", problems[0].Path)
}

// What should be a directory and does not begin as one is not trusted: what else is marked used may be part of it.
func TestADirectoryThatDoesNotBeginAsOne(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.Mkdir("EFI/BOOT/below"))
	require.NoError(t, f.WriteFile("EFI/BOOT/below/file", newData))
	v := mustView(t, dev)
	dev.WriteAt([]byte("X"), v.data+int64(v.chains["EFI/BOOT/below"][0]-2)*v.cluster)
	f = reopen(t, dev)
	problems, err := f.Check()
	require.NoError(t, err)
	require.Contains(t, problems, bootfs.Problem{Path: "EFI/BOOT/below",
		Text: "does not begin with the entries . and .."})
}
