package meta

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// What decodes is encoded to a copy that decodes to the same, and to the same bytes when nothing lies behind the end.
// The input is the records; the fuzzer could not find a checksum by itself.
func FuzzDecode(f *testing.F) {
	seeds := [][]byte{
		{0, 0, 0, 6, 0, 0, 0, 1, 'A'},
		{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 'a', 'b', 0, 0, 1, 0, 0, 0, 0, 0},
		{0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff},
		{0, 0, 0, 0, 1, 2, 3, 4},
	}
	require.NotEmpty(f, seeds)
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, records []byte) {
		if len(records) > Room {
			return
		}
		block := sealed(records)
		v, err := Decode(block)
		if err != nil {
			return
		}
		again, err := v.Encode()
		require.NoError(t, err)
		w, err := Decode(again)
		require.NoError(t, err)
		require.True(t, v.equal(w))
		used := recordsAt
		for _, r := range v.records {
			used += headerSize + len(r.value)
		}
		require.True(t, bytes.Equal(block[:used], again[:used]))
	})
}

// Arbitrary bytes never decode to something that cannot be written again, and never panic.
func FuzzDecodeRaw(f *testing.F) {
	var v Values
	_ = v.Set(6, []byte("A"))
	block, err := v.Encode()
	require.NoError(f, err)
	f.Add(block)
	f.Add(block[:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Decode(b); err == nil {
			_, err = v.Encode()
			require.NoError(t, err)
		}
	})
}
