package bootfs_test

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

func names(t testing.TB, f *bootfs.FS, dir string) []string {
	infos, err := f.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, i := range infos {
		out = append(out, i.Name)
	}
	return out
}

func TestDirectoriesOfManyClusters(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev := disktest.New(s.size(), s.unit)
			s.make(dev)
			s.soil(dev)
			f := reopen(t, dev)
			require.NoError(t, f.Mkdir("many/deep"))
			require.NoError(t, f.Mkdir("EFI/pawl/A"))
			var want []string
			for i := range 70 {
				name := fmt.Sprintf("%03d%s", i, strings.Repeat(" and more", i%25))
				want = append(want, name)
				for _, dir := range []string{"many/deep/", "EFI/pawl/A/"} {
					require.NoError(t, f.WriteFile(dir+name, nil))
				}
			}
			f = reopen(t, dev)
			for _, dir := range []string{"many/deep", "EFI/pawl/A"} {
				require.ElementsMatch(t, want, names(t, f, dir))
			}
			// Every second one goes; what comes uses their places.
			v, err := readView(dev, nil)
			require.NoError(t, err)
			for i := 0; i < len(want); i += 2 {
				require.NoError(t, f.Remove("many/deep/"+want[i]))
			}
			for i := 0; i < len(want); i += 2 {
				require.NoError(t, f.WriteFile("many/deep/"+want[i], nil))
			}
			require.ElementsMatch(t, want, names(t, f, "many/deep"))
			after, err := readView(dev, nil)
			require.NoError(t, err)
			require.Len(t, after.chains["many/deep"], len(v.chains["many/deep"]), "the directory has not grown")
			noProblems(t, f)
		})
	}
}

func TestADirectoryHasAtMost65536Entries(t *testing.T) {
	s := shape{unit: 512, sector: 512, perCluster: 64, reserved: 32, tables: 2, clusters: 1000}
	dev := disktest.New(s.size(), s.unit)
	s.make(dev)
	f := reopen(t, dev)
	require.NoError(t, f.Mkdir("FULL"))
	require.NoError(t, f.WriteFile("FULL/A", nil))
	// By hand, since each file would take two flushes: every slot but the last says EMPTYnnn.
	v, err := readView(dev, nil)
	require.NoError(t, err)
	n := 3
	put := func(cluster uint32, from int) {
		for i := from; i < 1024 && n < 65536; i++ {
			b := make([]byte, 32)
			copy(b, fmt.Sprintf("E%-7d   ", n))
			b[11] = 0x20
			dev.WriteAt(b, v.data+int64(cluster-2)*v.cluster+int64(32*i))
			n++
		}
	}
	last := v.chains["FULL"][0]
	put(last, 3)
	for next := uint32(100); n < 65536; next++ {
		for copy := range 2 {
			dev.WriteAt([]byte{byte(next), byte(next >> 8), 0, 0}, v.fat[copy]+4*int64(last))
			dev.WriteAt([]byte{0xff, 0xff, 0xff, 0x0f}, v.fat[copy]+4*int64(next))
		}
		put(next, 0)
		last = next
	}
	f = reopen(t, dev)
	noProblems(t, f)
	require.Len(t, names(t, f, "FULL"), 65536-2)
	_, err = f.Create("FULL/B", 0)
	require.ErrorIs(t, err, bootfs.ErrFull)
	require.NoError(t, f.Remove("FULL/E65535"))
	require.NoError(t, f.WriteFile("FULL/B", nil))
	_, err = f.Create("FULL/C", 0)
	require.ErrorIs(t, err, bootfs.ErrFull)
}

func TestLookupsKnowNamesInAnyCaseAndTheShortForm(t *testing.T) {
	_, f := volume(t, 34<<20, 512)
	require.NoError(t, f.Mkdir("EFI/Łódź"))
	require.NoError(t, f.WriteFile("EFI/Łódź/Initramfs.xz", []byte("x")))
	for _, path := range []string{"EFI/Łódź/Initramfs.xz", "/efi/łÓDŹ/INITRAMFS.XZ", "EFI/__D_~1/INITRA~1.XZ",
		"efi//./łódź/initra~1.xz"} {
		info, err := f.Stat(path)
		require.NoError(t, err, path)
		require.Equal(t, bootfs.Info{Name: "Initramfs.xz", Size: 1, ModTime: clock()}, info)
		_, err = f.Create(path, 1)
		require.ErrorIs(t, err, fs.ErrExist, path)
	}
	for _, path := range []string{"efi/lodz", "EFI/Łódź/Initramfs.xz/x", "EFI/Łódź/Initramfs", "nothing/at/all"} {
		_, err := f.Stat(path)
		require.ErrorIs(t, err, fs.ErrNotExist, path)
	}
	root, err := f.Stat("")
	require.NoError(t, err)
	require.Equal(t, bootfs.Info{Name: "/", Dir: true}, root)
	require.NoError(t, f.WriteFile("efi/łódź/INITRAMFS.xz", []byte("new")))
	require.Equal(t, []string{"Initramfs.xz"}, names(t, f, "EFI/Łódź"), "it keeps its name")
}

func TestWhatIsRefused(t *testing.T) {
	dev, f := volume(t, 34<<20, 512)
	require.NoError(t, f.Mkdir("dir/sub"))
	require.NoError(t, f.WriteFile("file", make([]byte, 1000)))
	for name, c := range map[string]struct {
		err  error
		want error
		text string
	}{
		"create over a file":         {second(f.Create("FILE", 1)), fs.ErrExist, "create FILE"},
		"create over a directory":    {second(f.Create("dir", 1)), fs.ErrExist, "create dir"},
		"replace a directory":        {second(f.Replace("dir", 1)), nil, "is a directory"},
		"create in no directory":     {second(f.Create("none/x", 1)), fs.ErrNotExist, "none"},
		"create in a file":           {second(f.Create("file/x", 1)), nil, "is a file, not a directory"},
		"create the root":            {second(f.Create("/", 1)), nil, "is a directory"},
		"create a bad name":          {second(f.Create("a:b", 1)), nil, "not allowed"},
		"create 4 GiB":               {second(f.Create("big", 4<<30)), bootfs.ErrTooLarge, "4294967295"},
		"create less than nothing":   {second(f.Create("neg", -1)), fs.ErrInvalid, "-1"},
		"create more than fits":      {second(f.Create("big", 40<<20)), bootfs.ErrFull, "41943040 bytes are needed"},
		"replace with too much":      {second(f.Replace("file", 40<<20)), bootfs.ErrFull, "replace file"},
		"remove what is not there":   {f.Remove("none"), fs.ErrNotExist, "remove none"},
		"remove a full directory":    {f.Remove("dir"), fs.ErrExist, "not empty"},
		"remove the root":            {f.Remove(""), fs.ErrInvalid, "root"},
		"make a directory of a file": {f.Mkdir("file"), fs.ErrExist, "file"},
		"make one below a file":      {f.Mkdir("file/x"), fs.ErrExist, "file"},
		"make a bad name":            {f.Mkdir("a/b?"), nil, "not allowed"},
		"overwrite another length":   {f.Overwrite("file", make([]byte, 999)), fs.ErrInvalid, "999"},
		"overwrite two sectors":      {f.Overwrite("file", make([]byte, 1000)), fs.ErrInvalid, "one sector"},
		"overwrite a directory":      {f.Overwrite("dir", nil), nil, "is a directory"},
		"overwrite nothing":          {f.Overwrite("none", []byte("x")), fs.ErrNotExist, "overwrite none"},
		"clear what is no zone":      {f.Clear("dir"), nil, "no zone"},
		"clear what is not there":    {f.Clear("EFI/pawl/A"), fs.ErrNotExist, "clear EFI/pawl/A"},
		"read a directory":           {second(f.ReadFile("dir")), nil, "is a directory"},
		"list a file":                {second(f.ReadDir("file")), nil, "not a directory"},
	} {
		require.Error(t, c.err, name)
		if c.want != nil {
			require.ErrorIs(t, c.err, c.want, name)
		}
		require.ErrorContains(t, c.err, c.text, name)
	}
	// "make a bad name" made its parent; nothing else wrote.
	require.NoError(t, f.Remove("a"))
	noProblems(t, f)

	for _, zones := range [][]string{{""}, {"a", "A/b"}, {"a/b", "a"}, {"x", "X"}, {"1", "2", "3", "4", "5"}} {
		_, err := bootfs.Open(dev, bootfs.Options{Zones: zones})
		require.Error(t, err, "%q", zones)
	}
}

func TestTheLargestFileHasOneByteLessThan4GiB(t *testing.T) {
	dev := disktest.New(9<<30, 512)
	require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{}))
	f := reopen(t, dev)
	require.NoError(t, f.WriteFile("old", newData))
	dev.Record()
	for _, size := range []int64{4 << 30, 4<<30 + 1, 5 << 30, 1 << 40} {
		for _, err := range []error{second(f.Create("big", size)), second(f.Replace("old", size)),
			f.Allocate("big", size)} {
			require.ErrorIs(t, err, bootfs.ErrTooLarge)
			require.ErrorContains(t, err, "at most 4294967295")
		}
	}
	require.Empty(t, dev.Trace().Ops, "refused before anything is written or flushed")
	require.NoError(t, f.Allocate("big", 4<<30-1))
	f = reopen(t, dev)
	info, err := f.Stat("big")
	require.NoError(t, err)
	require.EqualValues(t, 4<<30-1, info.Size)
	file, err := f.Open("big")
	require.NoError(t, err)
	n, err := file.ReadAt(make([]byte, 10), 4<<30-6)
	require.Equal(t, 5, n)
	require.ErrorIs(t, err, io.EOF)
	noProblems(t, f)
}

func second[T any](_ T, err error) error { return err }

func TestRefusalsWriteNothing(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	dev.Record()
	for _, err := range []error{
		second(f.Create("EFI/pawl/A/os.efi", 1)), second(f.Create("EFI/pawl/A/x", 4<<30)),
		second(f.Create("EFI/pawl/A/x", 4<<20)),
		second(f.Replace("EFI/pawl/A/os.efi", 4<<20)), f.Remove("EFI/pawl/A/x"), f.Remove("EFI"), f.Clear("EFI"),
		f.Overwrite("loader/loader.conf", nil), second(f.Create("EFI/pawl/A/a:b", 1)), second(f.Create("EFI/x/y", 1)),
	} {
		require.Error(t, err)
	}
	require.Empty(t, dev.Trace().Writes())
}

func TestAWriterThatIsGivenUpLeavesNothing(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	before, err := readView(dev, nil)
	require.NoError(t, err)
	free, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	w, err := f.Create("EFI/pawl/B/x", 1000)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 999))
	require.NoError(t, err)
	require.ErrorContains(t, w.Close(), "999 bytes came, 1000 were announced")
	w, err = f.Replace("EFI/pawl/B/os.efi", 1000)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 1001))
	require.ErrorContains(t, err, "more than the 1000 bytes")
	require.Error(t, w.Close())
	w.Abort()
	after, err := readView(dev, nil)
	require.NoError(t, err)
	require.NoError(t, before.same(after, all))
	now, err := f.Free("EFI/pawl/B")
	require.NoError(t, err)
	require.Equal(t, free, now)
	noProblems(t, f)
}

func TestTwoWritersInOneDirectory(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	one, err := f.Create("EFI/pawl/B/one", 3000)
	require.NoError(t, err)
	two, err := f.Create("EFI/pawl/B/two", 3000)
	require.NoError(t, err)
	same, err := f.Create("EFI/pawl/B/two", 10)
	require.NoError(t, err, "it is not there yet")
	for i := range 30 {
		_, err = one.Write(content(1, 3000)[i*100:][:100])
		require.NoError(t, err)
		_, err = two.Write(content(2, 3000)[i*100:][:100])
		require.NoError(t, err)
	}
	_, err = same.Write(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, two.Close())
	require.NoError(t, one.Close())
	require.ErrorIs(t, same.Close(), fs.ErrExist)
	for i, name := range []string{"one", "two"} {
		data, err := f.ReadFile("EFI/pawl/B/" + name)
		require.NoError(t, err)
		require.Equal(t, content(uint64(i+1), 3000), data)
	}
	noProblems(t, reopen(t, dev))
}

func TestTimeStampsComeFromTheClock(t *testing.T) {
	dev, _ := volume(t, 34<<20, 512)
	at := clock()
	f, err := bootfs.Open(dev, bootfs.Options{Now: func() time.Time { return at }})
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("file", []byte("one")))
	require.NoError(t, f.Mkdir("dir"))
	at = at.Add(time.Hour)
	require.NoError(t, f.Overwrite("file", []byte("two")))
	info, err := f.Stat("file")
	require.NoError(t, err)
	require.Equal(t, clock(), info.ModTime, "overwriting in place leaves the directory alone")
	require.NoError(t, f.WriteFile("file", []byte("two")))
	info, err = f.Stat("file")
	require.NoError(t, err)
	require.Equal(t, clock().Add(time.Hour), info.ModTime)
	info, err = f.Stat("dir")
	require.NoError(t, err)
	require.Equal(t, clock(), info.ModTime)
}
