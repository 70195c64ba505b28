package efivar

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// Load options that OVMF (Debian's 2022.11, 4M) made at its first boot with one virtio disk, read from its variable
// store.
var ovmf = map[string]string{
	"UiApp": "090100002c0055006900410070007000000004071400c9bdb87cebf8344faaea3ee4af6516a10406140021aa2c4614760345836e8ab6f466233" +
		"17fff0400",
	"UEFI QEMU DVD-ROM QM00005 ": "01000000200055004500460049002000510045004d00550020004400560044002d0052004f004d00200051004d0030" +
		"0030003000300035002000000002010c00d041030a0000000001010600021f03120a000200ffff00007fff04004eac0881119f594d850ee21a522c59b2",
	"UEFI Misc Device": "010000001600550045004600490020004d006900730063002000440065007600690063006500000002010c00d041030a000000000" +
		"101060000027fff04004eac0881119f594d850ee21a522c59b2",
	"EFI Internal Shell": "010000002c00450046004900200049006e007400650072006e0061006c0020005300680065006c006c00000004071400c9bdb87" +
		"cebf8344faaea3ee4af6516a10406140083a5047c3e9e1c4fad65e05268d0b4d17fff0400",
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestLoadOptionsOfFirmware(t *testing.T) {
	for title, text := range ovmf {
		b := unhex(t, text)
		o, err := DecodeLoadOption(b)
		require.NoError(t, err, title)
		require.Equal(t, title, o.Description)
		require.Equal(t, title != "UiApp", o.Tried(), "%s: firmware does not try its own applications", title)
		_, _, ok := o.File()
		require.False(t, ok, title)
		again, err := o.Encode()
		require.NoError(t, err)
		require.Equal(t, b, again, title)
	}
}

func TestLoadOptionGolden(t *testing.T) {
	guid, err := ParseGUID("11223344-5566-7788-99aa-bbccddeeff00")
	require.NoError(t, err)
	drive := HardDrive{Number: 1, First: 2048, Sectors: 573440, GUID: guid}
	o := LoadOption{
		Attributes:  Active,
		Description: "Pawl",
		Path:        []Node{drive.Node(), FilePath(`\EFI\BOOT\BOOTX64.EFI`), End()},
	}
	b, err := o.Encode()
	require.NoError(t, err)
	// The layout that was seen to boot: attributes, path length 0x5e, description, HD node, file node, end.
	want := "01000000" + "5e00" + "5000610077006c000000" +
		"04012a00" + "01000000" + "0008000000000000" + "00c0080000000000" + "4433221166558877" + "99aabbccddeeff00" +
		"0202" +
		"04043000" + "5c004500460049005c0042004f004f0054005c0042004f004f0054005800360034002e004500460049000000" +
		"7fff0400"
	require.Equal(t, want, hex.EncodeToString(b))

	back, err := DecodeLoadOption(b)
	require.NoError(t, err)
	require.Equal(t, o, back)
	h, path, ok := back.File()
	require.True(t, ok)
	require.Equal(t, drive, h)
	require.Equal(t, `\EFI\BOOT\BOOTX64.EFI`, path)
}

func TestLoadOptionRefuses(t *testing.T) {
	good := unhex(t, ovmf["UEFI Misc Device"])
	for n := range 62 { // where the path ends; what follows is optional
		_, err := DecodeLoadOption(good[:n])
		require.ErrorIs(t, err, ErrFormat, "cut at %d", n)
	}
	_, err := LoadOption{Description: "a\x00b"}.Encode()
	require.ErrorIs(t, err, ErrFormat)
	_, err = LoadOption{Path: []Node{{Data: make([]byte, 0xfffc)}}}.Encode()
	require.ErrorIs(t, err, ErrFormat)
}

func TestHardDriveOfAnotherKind(t *testing.T) {
	n := HardDrive{Number: 1}.Node()
	n.Data[36] = 1 // MBR
	_, ok := n.HardDrive()
	require.False(t, ok)
	_, ok = Node{typeMedia, subtypeHardDrive, []byte{1}}.HardDrive()
	require.False(t, ok)
}

func TestStrings(t *testing.T) {
	require.Equal(t, unhex(t, "70006100770000"+"00"), EncodeString("paw"))
	for _, s := range []string{"", "pawl-b.conf", "Łódź", "🦉 owl"} {
		got, err := DecodeString(EncodeString(s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	got, err := DecodeString(unhex(t, "6100"))
	require.NoError(t, err)
	require.Equal(t, "a", got, "a string without NUL is read to its end")
	got, err = DecodeString(unhex(t, "610000006200"))
	require.NoError(t, err)
	require.Equal(t, "a", got, "what follows the NUL does not count")
	_, err = DecodeString([]byte{1})
	require.ErrorIs(t, err, ErrFormat)

	// A lone surrogate, and two in the wrong order, come back as they were.
	odd := unhex(t, "6100"+"00d8"+"6200"+"00dc00d8")
	require.Equal(t, odd, encodeUnits(decodeUnits(odd)))
}

func TestNumbers(t *testing.T) {
	require.Equal(t, []byte{0, 0, 0x50, 0, 1, 2}, EncodeNumbers(0, 0x50, 0x201))
	n, err := DecodeNumbers([]byte{0, 0, 0x50, 0})
	require.NoError(t, err)
	require.Equal(t, []uint16{0, 0x50}, n)
	_, err = DecodeNumbers([]byte{0})
	require.ErrorIs(t, err, ErrFormat)
	_, err = DecodeNumber([]byte{0, 0, 1, 0})
	require.ErrorIs(t, err, ErrFormat)
}
