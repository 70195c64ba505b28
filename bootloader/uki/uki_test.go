package uki_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// parts are the sections that testdata/make.sh put into objcopy.efi.
func parts() []uki.Section {
	return []uki.Section{
		uki.Bytes(uki.OSRelease, []byte("ID=fixture\nVERSION_ID=\"1.0\"\n")),
		uki.Bytes(uki.Cmdline, []byte("console=ttyS0 quiet")),
		uki.Bytes(uki.Uname, []byte("6.1.0")),
		uki.Bytes(uki.Initrd, []byte("initramfs of the fixture")),
		uki.Bytes(uki.Linux, []byte("kernel of the fixture")),
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return data
}

func section(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}

func parse(data []byte) (*uki.Image, error) {
	return uki.Parse(bytes.NewReader(data), int64(len(data)))
}

func content(t testing.TB, img *uki.Image, name string) string {
	t.Helper()
	s, err := img.Section(name)
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(s.Data, 0, s.Data.Size()))
	require.NoError(t, err)
	require.Len(t, data, int(s.Data.Size()))
	return string(data)
}

func assemble(t testing.TB, stub []byte, sections ...uki.Section) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := uki.Assemble(&out, section(stub), sections...)
	require.NoError(t, err)
	require.Equal(t, int64(out.Len()), n)
	size, err := uki.Size(section(stub), sections...)
	require.NoError(t, err)
	require.Equal(t, n, size)
	return out.Bytes()
}

func TestParseReadsWhatObjcopyMade(t *testing.T) {
	img, err := parse(read(t, "objcopy.efi"))
	require.NoError(t, err)
	require.Equal(t, "amd64", img.Arch)
	var names []string
	for _, s := range img.Sections {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{".text", ".idata", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"}, names)
	for _, p := range parts() {
		want, err := io.ReadAll(p.Data)
		require.NoError(t, err)
		require.Equal(t, string(want), content(t, img, p.Name))
	}
	fields, err := img.Release()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"ID": "fixture", "VERSION_ID": "1.0"}, fields)
	_, err = img.Section(".dtb")
	require.ErrorIs(t, err, uki.ErrNoSection)
}

func TestAssembleWritesTheBodyThatObjcopyWrites(t *testing.T) {
	want := read(t, "objcopy.efi")
	got := assemble(t, read(t, "stub.efi"), parts()...)
	const headers = 0x400
	require.Equal(t, want[headers:], got[headers:])
	require.Equal(t, got, assemble(t, read(t, "stub.efi"), parts()...), "the same input gives the same bytes")
}

func TestAnotherParserReadsWhatAssembleWrote(t *testing.T) {
	data := assemble(t, read(t, "stub.efi"), parts()...)
	f, err := pe.NewFile(bytes.NewReader(data))
	require.NoError(t, err)
	optional := f.OptionalHeader.(*pe.OptionalHeader64)
	require.Zero(t, optional.SizeOfImage%optional.SectionAlignment)
	var end uint32
	for _, s := range f.Sections {
		require.GreaterOrEqual(t, s.VirtualAddress, end, "%s lies on the section before it", s.Name)
		require.Zero(t, s.Offset%optional.FileAlignment)
		end = s.VirtualAddress + s.VirtualSize
	}
	require.LessOrEqual(t, end, optional.SizeOfImage)
	for _, p := range parts() {
		s := f.Section(p.Name)
		require.NotNil(t, s)
		require.Zero(t, s.VirtualAddress%4096)
		require.EqualValues(t, p.Data.Size(), s.VirtualSize)
		got, err := s.Data()
		require.NoError(t, err)
		want, err := io.ReadAll(p.Data)
		require.NoError(t, err)
		require.Equal(t, want, got[:s.VirtualSize])
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	data := assemble(t, read(t, "stub.efi"), parts()...)
	for n := range data {
		_, err := parse(data[:n])
		require.ErrorIs(t, err, uki.ErrFormat, "%d of %d bytes", n, len(data))
	}
	_, err := parse(data)
	require.NoError(t, err)
}

func TestStubsThatCannotHoldTheSectionsAreRefused(t *testing.T) {
	stub := read(t, "stub.efi")
	many := func(n int) (all []uki.Section) {
		for i := range n {
			all = append(all, uki.Bytes(".s"+string(rune('a'+i)), []byte("x")))
		}
		return all
	}
	for name, c := range map[string]struct {
		stub     []byte
		sections []uki.Section
		says     string
	}{
		"not PE":              {[]byte(strings.Repeat("text ", 100)), nil, "MZ"},
		"stub cut short":      {stub[:len(stub)-1], nil, "truncated"},
		"section in the stub": {stub, []uki.Section{uki.Bytes(".text", []byte("x"))}, "given twice"},
		"section given twice": {stub, []uki.Section{uki.Bytes(".linux", []byte("x")), uki.Bytes(".linux", []byte("x"))},
			"given twice"},
		"empty section": {stub, []uki.Section{uki.Bytes(".linux", nil)}, "empty"},
		"name too long": {stub, []uki.Section{uki.Bytes(".longname", []byte("x"))}, "want a dot"},
		"no room":       {stub, many(20), "have room for"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := uki.Assemble(&out, section(c.stub), c.sections...)
			require.ErrorContains(t, err, c.says)
			require.Zero(t, out.Len(), "nothing is written")
		})
	}
}

func TestHeadersThatLieAreRefused(t *testing.T) {
	good := assemble(t, read(t, "stub.efi"), parts()...)
	header := int(binary.LittleEndian.Uint32(good[0x3c:]))
	table := header + 24 + int(binary.LittleEndian.Uint16(good[header+20:]))
	entry := func(i, field int) int { return table + i*40 + field }
	for name, c := range map[string]struct {
		offset int
		value  uint32
	}{
		"raw size past the end":       {entry(6, 16), 0x10000000},
		"raw offset past the end":     {entry(6, 20), 0xfffffe00},
		"raw offset into the headers": {entry(6, 20), 0x200},
		"sections share bytes":        {entry(6, 20), binary.LittleEndian.Uint32(good[entry(5, 20):])},
		"sections share memory":       {entry(6, 12), binary.LittleEndian.Uint32(good[entry(5, 12):])},
		"memory past the image":       {entry(6, 8), 0x7fffffff},
		"PE header past the end":      {0x3c, 0xfffffff0},
		"no sections":                 {header + 6, 0},
		"headers longer than file":    {header + 24 + 60, 0x100000},
		"PE32, not PE32+":             {header + 24, 0x010b},
		"file alignment zero":         {header + 24 + 36, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(good)
			binary.LittleEndian.PutUint32(bad[c.offset:], c.value)
			_, err := parse(bad)
			require.ErrorIs(t, err, uki.ErrFormat)
		})
	}
}

func TestTextRefusesWhatIsNoText(t *testing.T) {
	img, err := parse(assemble(t, read(t, "stub.efi"), uki.Bytes(uki.Cmdline, make([]byte, 1<<20))))
	require.NoError(t, err)
	_, err = img.Text(uki.Cmdline)
	require.ErrorIs(t, err, uki.ErrFormat)
}

func TestParseRelease(t *testing.T) {
	require.Equal(t, map[string]string{"A": "1", "B": "two words", "C": `a"b$`, "D": "single", "E": "", "F": `"`},
		uki.ParseRelease("# comment\nA=1\nB=\"two words\"\nC=\"a\\\"b\\$\"\nD='single'\n\nE=\nno line\n=x\nF=\"\n"))
}
