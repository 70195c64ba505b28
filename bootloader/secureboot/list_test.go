package secureboot_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return data
}

// Lists that efitools made: testdata/README.md.
func TestListsOfEfitools(t *testing.T) {
	owner, err := efivar.ParseGUID("11111111-2222-3333-4444-123456789abc")
	require.NoError(t, err)
	lists, err := secureboot.Decode(append(golden(t, "a.esl"), golden(t, "hash.esl")...))
	require.NoError(t, err)
	require.Len(t, lists, 2)
	require.Equal(t, secureboot.TypeX509, lists[0].Type)
	require.Equal(t, owner, lists[0].Entries[0].Owner)
	require.Equal(t, secureboot.TypeSHA256, lists[1].Type)
	require.Len(t, lists[1].Entries[0].Data, 32)
	again, err := secureboot.Encode(lists...)
	require.NoError(t, err)
	require.Equal(t, append(golden(t, "a.esl"), golden(t, "hash.esl")...), again)
}

func TestListThatDoesNotAddUp(t *testing.T) {
	whole := golden(t, "hash.esl")
	for n := 1; n < len(whole); n++ {
		_, err := secureboot.Decode(whole[:n])
		require.ErrorIs(t, err, secureboot.ErrFormat, "cut at %d", n)
	}
	for at := 16; at < 28; at++ { // the three sizes
		for _, b := range []byte{0, 1, 0x7f, 0xff} {
			changed := bytes.Clone(whole)
			if changed[at] == b {
				continue
			}
			changed[at] = b
			_, err := secureboot.Decode(changed)
			require.ErrorIs(t, err, secureboot.ErrFormat, "byte %d is %d", at, b)
		}
	}
	_, err := secureboot.Encode(secureboot.List{Size: 48, Entries: []secureboot.Entry{{Data: []byte{1}}}})
	require.ErrorIs(t, err, secureboot.ErrFormat)
}

func FuzzDecode(f *testing.F) {
	f.Add(golden(f, "a.esl"))
	f.Add(append(golden(f, "hash.esl"), golden(f, "a.esl")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := secureboot.Decode(b)
		if err != nil {
			return
		}
		again, err := secureboot.Encode(lists...)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzLevels(f *testing.F) {
	f.Add([]byte("sbat,1,2021030218\nshim,2\n"), []byte("sbat,1,SBAT Version\nshim,4,x\n"))
	f.Fuzz(func(t *testing.T, revoked, has []byte) {
		levels := secureboot.ParseLevels(revoked)
		for name, n := range levels {
			if n < 1 || bytes.ContainsAny([]byte(name), ",\n\x00") {
				t.Fatalf("%q in generation %d", name, n)
			}
		}
		if err := levels.Allow(has); err == nil && levels.Allow(append([]byte("a,1\n"),
			has...)) != nil && levels["a"] <= 1 {
			t.Fatal("another component matters")
		}
	})
}
