package bootfs

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func short(s string) (b [11]byte) {
	copy(b[:], s+"           ")
	return b
}

func TestShortNamesAsOthersWriteThem(t *testing.T) {
	require.Len(t, cp437, 128)
	require.Len(t, cp850, 128)
	for _, c := range []struct {
		raw   string
		flags byte
		want  string
	}{
		{"BOOTX64 EFI", 0, "BOOTX64.EFI"},
		{"EFI        ", 0, "EFI"},
		{"EFI        ", 0x08, "efi"},
		{"VMLINUZ EFI", 0x18, "vmlinuz.efi"},
		{"VMLINUZ EFI", 0x10, "VMLINUZ.efi"},
		{"lower   txt", 0, "lower.txt"},           // some firmware writes small letters
		{"GR\x9aN    TXT", 0, "GRÜN.TXT"},         // code page 437
		{"GR\x9aN    TXT", 0x08, "grün.TXT"},      //
		{"\x05BC        ", 0, "σBC"},              // 0x05 stands for 0xe5
		{"A/B     C\x01 ", 0, "A\ufffdB.C\ufffd"}, // not a path, whatever the device says
	} {
		require.Equal(t, c.want, shortText(short(c.raw), c.flags, cp437), "%q %#x", c.raw, c.flags)
	}
}

// As mtools 4.0.32 writes them: code page 850, and both halves in lower case where the flags say so.
func TestShortNamesByTheOtherCodePage(t *testing.T) {
	for _, c := range []struct {
		raw       string
		flags     byte
		name, may string
	}{
		{"\xb5\xd6\xe0     TXT", 0, "╡╓α.TXT", "ÁÍÓ.TXT"},
		{"\x9dRE2    TXT", 0x18, "¥re2.txt", "øre2.txt"},
		{"\x05BC        ", 0, "σBC", "õBC"},
		{"GR\x9aN    TXT", 0x18, "grün.txt", "GRÜN.TXT"},
	} {
		b := encodeShort(entry{short: short(c.raw)})
		b[12] = c.flags
		e := decodeShort(b)
		require.Equal(t, c.name, e.name)
		require.True(t, e.is(c.name) && e.may(c.name) && e.may(c.may) && e.may(strings.ToUpper(c.may)), c.may)
	}
	plain := decodeShort(encodeShort(entry{short: short("OS      EFI")}))
	require.Empty(t, plain.other)
	require.False(t, plain.may(""))
}

func TestShortNamesForLongOnes(t *testing.T) {
	taken := map[[11]byte]bool{}
	for _, c := range []struct{ name, want string }{
		{"os.efi", "OS      EFI"},
		{"pawl", "PAWL       "},
		{"manifest.json", "MANIFE~1JSO"},
		{"manifest.jsob", "MANIFE~2JSO"},
		{".hidden", "HIDDEN~1   "},
		{"two.dots.txt", "TWODOT~1TXT"},
		{"Łódź.conf", "__D_~1  CON"},
		{"a b", "AB~1       "},
		{"a+b", "A_B~1      "},
		{"...x", "X~1        "},
	} {
		got, err := newShort(c.name, func(s [11]byte) bool { return taken[s] })
		require.NoError(t, err)
		require.Equal(t, c.want, string(got[:]), c.name)
		taken[got] = true
	}
	got, err := newShort("manifest.json", func(s [11]byte) bool { return !strings.HasPrefix(string(s[:]), "M~123456") })
	require.NoError(t, err)
	require.Equal(t, "M~123456JSO", string(got[:]))
}

func TestNamesThatNoVolumeCanHold(t *testing.T) {
	for _, name := range []string{"", "a:b", "a\\b", "a\x00", "a\nb", "ends.", "ends ", " starts", "\xff",
		strings.Repeat("x", 256), "😀" + strings.Repeat("x", 254)} {
		require.Error(t, checkName(name), "%q", name)
	}
	for _, name := range []string{"a", "Łódź", ".hidden", strings.Repeat("x", 255), "😀" + strings.Repeat("x", 253)} {
		require.NoError(t, checkName(name), "%q", name)
	}
}

func TestLongNamesComeBack(t *testing.T) {
	for _, name := range []string{"a", "twelve chars", "exactly 13 ch", "fourteen chars", "Łódź 😀",
		strings.Repeat("y", 255)} {
		s := short("SHORT   TXT")
		var l long
		for i, b := range encodeLong(name, s) {
			l.add(b, int64(i))
		}
		got, ok := l.name(s)
		require.True(t, ok, name)
		require.Equal(t, name, got)
		_, ok = l.name(short("OTHER   TXT"))
		require.False(t, ok, "a long name belongs to its short one only")
	}
	require.Empty(t, encodeLong("BOOTX64.EFI", short("BOOTX64 EFI")), "upper case needs no long name")
}

func TestPartsOfALongNameThatDoNotFit(t *testing.T) {
	s := short("SHORT   TXT")
	parts := encodeLong(strings.Repeat("z", 30), s) // three
	for _, order := range [][]int{{0, 1}, {1, 2}, {0, 2}, {0, 1, 1, 2}, {2, 1, 0}, {0, 0, 1, 2, 0}} {
		var l long
		for _, i := range order {
			l.add(parts[i], 0)
		}
		_, ok := l.name(s)
		require.False(t, ok, "%v", order)
	}
	var l long
	for _, i := range []int{1, 0, 1, 2} { // a new start is a start
		l.add(parts[i], 0)
	}
	name, ok := l.name(s)
	require.True(t, ok)
	require.Equal(t, strings.Repeat("z", 30), name)
}

func TestTimes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"2026-05-17T12:34:56Z", "2026-05-17T12:34:56Z"},
		{"2026-05-17T12:34:57Z", "2026-05-17T12:34:56Z"},
		{"2026-05-17T01:00:00+02:00", "2026-05-16T23:00:00Z"},
		{"1970-01-01T00:00:00Z", "1980-01-01T00:00:00Z"},
		{"2200-01-01T00:00:00Z", "2107-12-31T23:59:58Z"},
	} {
		in, err := time.Parse(time.RFC3339, c.in)
		require.NoError(t, err)
		date, clock := encodeTime(in)
		require.Equal(t, c.want, decodeTime(date, clock).Format(time.RFC3339))
	}
	require.True(t, decodeTime(0, 0).IsZero())
}

func TestPaths(t *testing.T) {
	require.Empty(t, split(""))
	require.Empty(t, split("/"))
	require.Empty(t, split("../.."))
	require.Equal(t, []string{"EFI", "BOOT"}, split("/EFI//x/../BOOT/"))
}
