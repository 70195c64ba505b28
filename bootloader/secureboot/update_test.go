package secureboot_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// update is what a variable is written with: a signature that says nothing, and lists.
func update(t testing.TB, lists ...secureboot.List) []byte {
	b := make([]byte, 16, 48)
	b = append(b, 28, 0, 0, 0, 0, 2, 0xf1, 0x0e)
	b = append(b, "\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7sign"...)
	data, err := secureboot.Encode(lists...)
	require.NoError(t, err)
	return append(b, data...)
}

func TestUpdate(t *testing.T) {
	want := []secureboot.List{
		secureboot.Of(secureboot.TypeX509, []byte("certificate")),
		secureboot.Of(secureboot.TypeSHA256, bytes.Repeat([]byte{7}, 32)),
	}
	good := update(t, want...)
	got, err := secureboot.DecodeUpdate(good)
	require.NoError(t, err)
	require.Len(t, got, 2)
	for i := range want {
		require.Equal(t, want[i].Type, got[i].Type)
		require.Equal(t, want[i].Entries[0].Data, got[i].Entries[0].Data)
	}
	for at, to := range map[int]byte{16: 0, 17: 1, 20: 1, 22: 0, 24: 0} {
		bad := bytes.Clone(good)
		bad[at] = to
		_, err := secureboot.DecodeUpdate(bad)
		require.ErrorIs(t, err, secureboot.ErrFormat, "byte %d", at)
	}
	for n := range good {
		if n == len(update(t, want[0])) {
			continue // a whole one, of the first list
		}
		_, err := secureboot.DecodeUpdate(good[:n])
		require.ErrorIs(t, err, secureboot.ErrFormat, "%d bytes", n)
	}
}

func FuzzDecodeUpdate(f *testing.F) {
	f.Add(update(f, secureboot.Of(secureboot.TypeX509, []byte("certificate"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := secureboot.DecodeUpdate(b)
		if err != nil {
			return
		}
		again, err := secureboot.Encode(lists...)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(b, again))
	})
}
