package sdboot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
)

func TestSlotOf(t *testing.T) {
	for id, want := range map[string]bootloader.Slot{
		"pawl-a.conf": bootloader.A, "PAWL-B.CONF": bootloader.B, "pawl-b+3.conf": bootloader.B,
		"pawl-b+0-3.conf": bootloader.B,
		"pawl-c.conf":     bootloader.None, "pawl-a": bootloader.None, "pawl-a+x.conf": bootloader.None,
		"": bootloader.None,
	} {
		require.Equal(t, want, slotOf(id), id)
	}
}

// Every byte of loader.conf that changes is noticed: it is either not whole any more, or says something else.
func TestConfEveryByteCounts(t *testing.T) {
	good := encodeConf(conf{defaultID: "pawl-a.conf"})
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x01
		c, whole := decodeConf(bad)
		require.False(t, whole && c == conf{defaultID: "pawl-a.conf"}, "byte %d", i)
	}
}

func TestEncodeEntryRefuses(t *testing.T) {
	good := slotEntry{title: "Pawl", version: "1", sortKey: "0", efi: "/EFI/pawl/A/os.efi"}
	_, err := encodeEntry(good)
	require.NoError(t, err)
	for name, change := range map[string]func(*slotEntry){
		"new line": func(e *slotEntry) { e.version = "1\nefi /evil.efi" },
		"empty":    func(e *slotEntry) { e.version = "" },
		"spaces":   func(e *slotEntry) { e.title = " Pawl" },
		"too long": func(e *slotEntry) { e.version = strings.Repeat("1", 500) },
	} {
		bad := good
		change(&bad)
		_, err := encodeEntry(bad)
		require.Error(t, err, name)
	}
}

func TestBehind(t *testing.T) {
	key := provenKey
	for range 5 {
		next := behind(key)
		require.Greater(t, next, key)
		key = next
	}
}
