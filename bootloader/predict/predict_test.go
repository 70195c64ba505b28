package predict_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/uki"
)

// disk is a machine with a loader and whatever files a case wants, written by bootfs.
func disk(t testing.TB, files map[string]string) *loadertest.Machine {
	t.Helper()
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	f, err := m.FS()
	require.NoError(t, err)
	for _, dir := range []string{"EFI/BOOT", "EFI/Linux", bootloader.A.Dir(), bootloader.B.Dir(), "loader/entries"} {
		require.NoError(t, f.Mkdir(dir))
	}
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Loader("amd64")))
	for path, text := range files {
		require.NoError(t, f.WriteFile(path, []byte(text)))
	}
	m.Options.Trace = true
	return m
}

const (
	nameA = "loader/entries/pawl-a.conf"
	nameB = "loader/entries/pawl-b.conf"
)

// base is the contract on disk: A is the default, B is there as well.
func base(change map[string]string) map[string]string {
	files := map[string]string{
		"loader/loader.conf": "default pawl-a.conf\ntimeout 0\n",
		nameA:                "title Pawl\nversion 1\nsort-key 0\nefi /EFI/pawl/A/os.efi\n",
		nameB:                "title Pawl\nversion 2\nsort-key 9\nefi /EFI/pawl/B/os.efi\n",
		"EFI/pawl/A/os.efi":  string(loadertest.Kernel("amd64", []byte("one"))),
		"EFI/pawl/B/os.efi":  string(loadertest.Kernel("amd64", []byte("two"))),
	}
	for path, text := range change {
		if text == "-" {
			delete(files, path)
		} else {
			files[path] = text
		}
	}
	return files
}

func TestChoice(t *testing.T) {
	uki := string(loadertest.Kernel("amd64", bytes.Repeat([]byte("two"), 1000)))
	noKeys := func(change map[string]string) map[string]string {
		change[nameA] = "title Pawl\nversion 1\nefi /EFI/pawl/A/os.efi\n"
		change[nameB] = "title Pawl\nversion 2\nefi /EFI/pawl/B/os.efi\n"
		return change
	}
	// Each was seen in QEMU, or follows from systemd-boot(7); "seen" marks the former.
	for _, c := range []struct {
		name   string
		change map[string]string
		vars   map[string]string
		want   bootloader.Slot
		starts int
		trial  bool
		stuck  bool
	}{
		{name: "seen: exact default", want: "A", starts: 1},
		{name: "seen: one-shot", vars: map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, want: "B", starts: 1,
			trial: true},
		{name: "one-shot is a pattern in any case", vars: map[string]string{"LoaderEntryOneShot": "PAWL-?.CONF"},
			want: "A", starts: 1, trial: true},
		{name: "seen: one-shot of an empty entry", change: map[string]string{nameB: "\n\n\n"},
			vars: map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, want: "A", starts: 1},
		{name: "one-shot of an image that is missing", change: map[string]string{"EFI/pawl/B/os.efi": "-"},
			vars: map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, want: "A", starts: 1},
		{name: "seen: one start, one-shot of a truncated image",
			change: map[string]string{"EFI/pawl/B/os.efi": uki[:len(uki)-513]},
			vars:   map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, starts: 1, stuck: true},
		{name: "seen: one start, one-shot of an empty image", change: map[string]string{"EFI/pawl/B/os.efi": ""},
			vars: map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, starts: 1, stuck: true},
		{name: "seen: one start, one-shot of random bytes", change: map[string]string{"EFI/pawl/B/os.efi": "random"},
			vars: map[string]string{"LoaderEntryOneShot": "pawl-b.conf"}, starts: 1, stuck: true},
		{name: "seen: no entries", change: map[string]string{nameA: "\n", nameB: "\n"}, starts: 1, stuck: true},
		{name: "seen: loader.conf destroyed", change: map[string]string{"loader/loader.conf": "\x93\x00\x81default"},
			want: "A", starts: 1},
		{name: "seen: an entry destroyed", change: map[string]string{nameB: "\x93\x00\x81"}, want: "A", starts: 1},
		{name: "seen: default matches nothing, the newest boots",
			change: noKeys(map[string]string{"loader/loader.conf": "default gone.conf\n"}), want: "B", starts: 1},
		{name: "no loader.conf, sort keys", change: map[string]string{"loader/loader.conf": "-"}, want: "A", starts: 1},
		{name: "the entry without sort key comes last", change: map[string]string{"loader/loader.conf": "-",
			nameA: "version 9\nefi /EFI/pawl/A/os.efi\n"}, want: "B", starts: 1},
		{name: "same keys, the newest", change: map[string]string{"loader/loader.conf": "-",
			nameA: "version 1.9\nsort-key 9\nefi /EFI/pawl/A/os.efi\n",
			nameB: "version 1.10\nsort-key 9\nefi /EFI/pawl/B/os.efi\n"}, want: "B", starts: 1},
		{name: "LoaderEntryDefault outranks loader.conf", vars: map[string]string{"LoaderEntryDefault": "pawl-b.conf"},
			want: "B", starts: 1},
		{name: "LoaderEntryDefault that matches nothing", vars: map[string]string{"LoaderEntryDefault": "gone*"},
			want: "A", starts: 1},
		{name: "seen: a glob", change: map[string]string{"loader/loader.conf": "default pawl-b*\n"}, want: "B",
			starts: 1},
		{name: "comments, tabs, carriage returns, quotes",
			change: map[string]string{"loader/loader.conf": "#default pawl-a.conf\r\n \tdefault\t \"pawl-b.conf\" " +
				"\r\n"}, want: "B", starts: 1},
		{name: "an entry for another architecture",
			change: map[string]string{nameA: "sort-key 0\narchitecture aa64\nefi /EFI/pawl/A/os.efi\n",
				"loader/loader.conf": "-"}, want: "B", starts: 1},
		{name: "no loader", change: map[string]string{"EFI/BOOT/BOOTX64.EFI": "-"}, starts: 0, stuck: true},
		{name: "a menu that waits", change: map[string]string{"loader/loader.conf": "default pawl-a.conf\ntimeout " +
			"menu-force\n"}, starts: 1, stuck: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := base(c.change)
			m := disk(t, files)
			if c.name == "no loader" {
				f, err := m.FS()
				require.NoError(t, err)
				require.NoError(t, f.Remove("EFI/BOOT/BOOTX64.EFI"))
			}
			for name, value := range c.vars {
				require.NoError(t, m.Vars.Write(efivar.Loader(name), efivar.Variable{Attributes: efivar.Kept,
					Data: efivar.EncodeString(value)}))
			}
			o, err := m.Boot()
			require.NoError(t, err)
			require.Equal(t, c.stuck, o.Stuck != "", "%v\n%q", o, o.Log)
			require.Equal(t, c.want, o.Slot, "%v\n%q", o, o.Log)
			require.Equal(t, c.starts, o.Starts, "%v", o)
			require.Equal(t, c.trial, o.Trial)
			_, err = m.Vars.Read(efivar.Loader("LoaderEntryOneShot"))
			require.Error(t, err, "used up")
		})
	}
}

// A tie between an entry of ours and an image in EFI/Linux.
func TestUnifiedEntries(t *testing.T) {
	var image bytes.Buffer
	_, err := uki.Assemble(&image, io.NewSectionReader(bytes.NewReader(loadertest.Stub()), 0,
		int64(len(loadertest.Stub()))),
		uki.Bytes(".osrel", []byte("ID=other\nPRETTY_NAME=\"Other\"\nVERSION_ID=3\n")),
		uki.Bytes(".linux", []byte("x")))
	require.NoError(t, err)
	m := disk(t, base(map[string]string{"EFI/Linux/Other.efi": image.String(),
		"loader/loader.conf": "default other.efi\n"}))
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, "EFI/Linux/Other.efi", o.Path)
	require.Equal(t, bootloader.None, o.Slot)
	require.Equal(t, "other.efi", o.Entry)

	m = disk(t, base(map[string]string{"EFI/Linux/Other.efi": "random bytes"}))
	o, err = m.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "seen: random bytes are not listed")
}

func TestNotModelled(t *testing.T) {
	m := disk(t, crowded())
	_, err := m.Boot()
	require.ErrorIs(t, err, predict.ErrNotModelled)
}

// crowded is a disk on which the loader counts a boot by a name that its directory has no room for.
func crowded() map[string]string {
	files := base(map[string]string{"loader/entries/abcdef+2.conf": "efi /EFI/pawl/B/os.efi\n",
		"loader/loader.conf": "default abcdef*\n"})
	for i := range 4 {
		files[fmt.Sprintf("loader/entries/a note %d", i)] = "x"
	}
	return files
}

// An entry whose name counts is renamed before each boot, also one that does not load, and sorts last with no tries
// left. A glob goes on all the same (seen).
func TestCountedEntries(t *testing.T) {
	const b = "sort-key !\nversion 1\nefi /EFI/pawl/B/os.efi\n"
	for _, c := range []struct {
		conf  string
		files map[string]string
		slots string
		names []string
	}{
		{"timeout 0\n", map[string]string{"loader/entries/b+2.conf": b}, "BBAA", []string{"b+1-1.conf", "b+0-2.conf",
			"b+0-2.conf", "b+0-2.conf"}},
		{"default b+*.conf\n", map[string]string{"loader/entries/b+1-4.conf": b}, "BBB",
			[]string{"b+0-5.conf", "b+0-6.conf", "b+0-7.conf"}},
		{"default pawl-a.conf\n", map[string]string{"loader/entries/b+3.conf": b}, "AA",
			[]string{"b+3.conf", "b+3.conf"}},
		{"timeout 0\n", map[string]string{"loader/entries/A long name of an entry+12-0.conf": b}, "BB",
			[]string{"A long name of an entry+11-1.conf", "A long name of an entry+10-2.conf"}},
	} {
		c.files["loader/loader.conf"] = c.conf
		m := disk(t, base(c.files))
		for i, want := range c.slots {
			o, err := m.Boot()
			require.NoError(t, err)
			require.Equal(t, string(want), string(o.Slot), "%s: boot %d: %v", c.conf, i, o)
			f, err := m.FS()
			require.NoError(t, err)
			files, err := f.ReadDir("loader/entries")
			require.NoError(t, err)
			var names []string
			for _, e := range files {
				names = append(names, e.Name)
			}
			require.Contains(t, names, c.names[i])
			require.Len(t, names, 3)
			problems, err := f.Check()
			require.NoError(t, err)
			require.Empty(t, problems)
			content, err := f.ReadFile("loader/entries/" + c.names[i])
			require.NoError(t, err)
			require.Equal(t, b, string(content))
		}
	}
}

// From release 258 on, only what is named by the key linux or uki is counted (seen with 262; 257 counts all).
func TestWhatIsNamedByEFIIsNotCounted(t *testing.T) {
	for _, c := range []struct{ release, key, want string }{
		{"257.13", "efi", "b+1-1.conf"}, {"258", "efi", "b+2.conf"}, {"262.1", "efi", "b+2.conf"},
		{"262.1", "linux", "b+1-1.conf"}, {"262.1", "uki", "b+1-1.conf"}, {"252", "linux", "b+1-1.conf"},
	} {
		m := disk(t, base(map[string]string{
			"EFI/BOOT/BOOTX64.EFI":    string(loadertest.LoaderOf("amd64", c.release)),
			"loader/loader.conf":      "timeout 0\n",
			"loader/entries/b+2.conf": "sort-key !\nversion 1\n" + c.key + " /EFI/pawl/B/os.efi\n"}))
		o, err := m.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.B, o.Slot)
		require.Equal(t, c.want != "b+2.conf", o.Trial, c)
		f, err := m.FS()
		require.NoError(t, err)
		_, err = f.Stat("loader/entries/" + c.want)
		require.NoError(t, err, c)
	}
}

func TestVariablesOfABoot(t *testing.T) {
	m := disk(t, base(nil))
	_, err := m.Boot()
	require.NoError(t, err)
	text := func(name string) string {
		v, err := m.Vars.Read(efivar.Loader(name))
		require.NoError(t, err)
		require.EqualValues(t, 6, v.Attributes)
		s, err := efivar.DecodeString(v.Data)
		require.NoError(t, err)
		return s
	}
	require.Equal(t, "pawl-a.conf", text("LoaderEntrySelected"))
	require.Equal(t, `\EFI\BOOT\BOOTX64.EFI`, text("LoaderImageIdentifier"))
	require.Equal(t, m.Partition.GUID.String(), text("LoaderDevicePartUUID"))
	order, err := m.Vars.Read(efivar.Global("BootOrder"))
	require.NoError(t, err)
	require.Equal(t, efivar.EncodeNumbers(0, 1, 2), order.Data, "setup, disk, shell")
	before := m.Vars.Values()
	_, err = m.Boot()
	require.NoError(t, err)
	require.Equal(t, before, m.Vars.Values(), "the second boot changes nothing")
}

// BootNext straight to a slot's image: seen, good and bad.
func TestBootNext(t *testing.T) {
	for _, c := range []struct {
		image string
		want  bootloader.Slot
	}{{string(loadertest.Kernel("amd64", []byte("two"))), "B"}, {"junk", "A"}} {
		m := disk(t, base(map[string]string{"EFI/pawl/B/os.efi": c.image}))
		data, err := efivar.LoadOption{Attributes: efivar.Active, Description: "trial",
			Path: []efivar.Node{m.Partition.Node(), efivar.FilePath(`\EFI\pawl\B\os.efi`), efivar.End()}}.Encode()
		require.NoError(t, err)
		require.NoError(t, m.Vars.Write(efivar.Boot(0x50), efivar.Variable{Attributes: efivar.Kept, Data: data}))
		require.NoError(t, m.Vars.Write(efivar.Global("BootNext"), efivar.Variable{Attributes: efivar.Kept,
			Data: efivar.EncodeNumbers(0x50)}))
		o, err := m.Boot()
		require.NoError(t, err)
		require.Equal(t, c.want, o.Slot)
		require.Equal(t, c.want == bootloader.B, o.Trial)
		selected, err := m.Vars.Read(efivar.Loader("LoaderEntrySelected"))
		require.Equal(t, c.want == bootloader.B, err != nil, "%x", selected.Data)
		o, err = m.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.A, o.Slot, "used up")
	}
}

// Seen with injected read errors: the firmware reads the table in pages of 32 KiB and the data in pages of 64 KiB.
func TestUnreadableSectorTakesItsPageAlong(t *testing.T) {
	m := disk(t, base(nil))
	v, err := predict.Volume(m.Disk, false)
	require.NoError(t, err)
	root := v.Data() // the root directory is the first cluster
	entry, err := v.Entry("EFI/BOOT/BOOTX64.EFI")
	require.NoError(t, err)
	// of the loader's chain; the zones are in others
	page := v.Table() + (entry-v.Table())/predict.TablePage*predict.TablePage
	for _, c := range []struct {
		off   int64
		boots bool
	}{
		{page + 20*512, false}, {page + predict.TablePage - 512, false}, {page - 512, true}, {page, false},
		{v.Table(), false},
		{v.Table() + 11*512, true}, // seen: neither what opens a volume nor short directories need it
		{root + predict.DataPage - 512, false}, {v.Table() + v.TableBytes(), true},
	} {
		bad := m.Clone()
		bad.Disk.Spoil(c.off, 512)
		o, err := bad.Boot()
		require.NoError(t, err)
		require.Equal(t, c.boots, o.Slot == bootloader.A, "sector at %d: %v", c.off-v.Table(), o)
		bad = m.Clone()
		bad.Options.SectorReads = true
		bad.Disk.Spoil(page+predict.TablePage-512, 512)
		o, err = bad.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.A, o.Slot)
	}
}

// Only the first table counts.
func TestSecondTableIsNotRead(t *testing.T) {
	loader := string(loadertest.Loader("amd64")) + string(make([]byte,
		100<<10)) // its chain fills a sector of the table
	m := disk(t, base(map[string]string{"EFI/BOOT/BOOTX64.EFI": loader}))
	v, err := predict.Volume(m.Disk, false)
	require.NoError(t, err)
	junk := bytes.Repeat([]byte{0x5a}, 4096)
	second := m.Clone()
	_, err = second.Disk.WriteAt(junk, v.Table()+v.TableBytes())
	require.NoError(t, err)
	o, err := second.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot)
	at, err := v.Entry("EFI/BOOT/BOOTX64.EFI")
	require.NoError(t, err)
	_, err = m.Disk.WriteAt(junk[:512], at&^511)
	require.NoError(t, err)
	o, err = m.Boot()
	require.NoError(t, err)
	require.NotEmpty(t, o.Stuck, "seen: one garbage sector in the first table")
}

func TestPartitionTable(t *testing.T) {
	m := disk(t, base(nil))
	for name, c := range map[string]struct {
		spoil []int64
		want  bootloader.Slot
	}{
		"primary header":  {[]int64{1}, "A"},
		"primary entries": {[]int64{2}, "A"},
		"backup":          {[]int64{m.Disk.Size()/512 - 1}, "A"},
		"both":            {[]int64{1, m.Disk.Size()/512 - 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bad := m.Clone()
			for _, lba := range c.spoil {
				_, err := bad.Disk.WriteAt(bytes.Repeat([]byte{0xa5}, 512), lba*512)
				require.NoError(t, err)
			}
			o, err := bad.Boot()
			require.NoError(t, err)
			require.Equal(t, c.want, o.Slot)
		})
	}
}

func TestSectorsOf4096(t *testing.T) {
	m, err := loadertest.NewMachine(4096)
	require.NoError(t, err)
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("EFI/BOOT"))
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Kernel("amd64", []byte("direct"))))
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, "EFI/BOOT/BOOTX64.EFI", o.Path)
}

// What the model reads is what bootfs wrote: names long and short, in fragments, in directories of many clusters.
func TestReadsWhatBootfsWrote(t *testing.T) {
	m := disk(t, nil)
	f, err := m.FS()
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string][]byte{}
	for i := range 120 {
		name := fmt.Sprintf("EFI/Linux/%s %d.dat", []string{"short", "Ein längerer Name mit Umlauten",
			"lower.case"}[i%3], i)
		data := make([]byte, rnd.IntN(200_000))
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		require.NoError(t, f.WriteFile(name, data))
		if i%4 == 3 {
			require.NoError(t, f.Remove(name))
		} else {
			want[name] = data
		}
	}
	for _, exact := range []bool{false, true} {
		v, err := predict.Volume(m.Disk, exact)
		require.NoError(t, err)
		for name, data := range want {
			content, err := v.Content(name)
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(data, content), name)
		}
		count, err := v.Count("efi/LINUX")
		require.NoError(t, err)
		require.Equal(t, len(want)+2, count, ". and ..")
	}
}

func BenchmarkBoot(b *testing.B) {
	m := disk(b, base(nil))
	m.Options.Trace = false
	if _, err := m.Boot(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if o, err := predict.Boot(m.Disk, m.Vars.Clone(), m.Options); err != nil || o.Slot != bootloader.A {
			b.Fatal(o, err)
		}
	}
}
