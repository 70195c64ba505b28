package meta

import (
	"bytes"
	"strings"
	"testing"

	"github.com/siderolabs/go-adv/adv/talos"
	"github.com/stretchr/testify/require"
)

// foreign are copies as go-adv writes them: empty, one tag, several tags, a value that fills it.
func foreign(f *testing.F) (blocks [][]byte) {
	f.Helper()
	for _, tags := range []map[uint8]string{
		{}, {TagUpgrade: "A"}, {TagStagedImage: "ghcr.io/siderolabs/installer:v1.10.0",
			TagStagedOptions: `{"force":true}`, 255: ""},
		{1: strings.Repeat("x", MaxValue)},
	} {
		adv, err := talos.NewADV(nil)
		require.NoError(f, err)
		for tag, value := range tags {
			require.True(f, adv.SetTag(tag, value), "tag %d", tag)
		}
		b, err := adv.Bytes()
		require.NoError(f, err)
		blocks = append(blocks, b[:CopySize])
	}
	return blocks
}

// What decodes is encoded to a copy that decodes to the same, and to the same bytes when nothing lies behind the end.
// The input is the records; the fuzzer could not find a checksum by itself.
func FuzzDecode(f *testing.F) {
	seeds := [][]byte{
		{0, 0, 0, 6, 0, 0, 0, 1, 'A'},
		{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 'a', 'b', 0, 0, 1, 0, 0, 0, 0, 0},
		{0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff},
		{0, 0, 0, 0, 1, 2, 3, 4},
	}
	for _, block := range foreign(f) {
		records := block[recordsAt:sumAt]
		seeds = append(seeds, records[:min(len(records), 1000)])
	}
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
	for _, block := range foreign(f) {
		f.Add(block)
	}
	f.Add(foreign(f)[1][:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Decode(b); err == nil {
			_, err = v.Encode()
			require.NoError(t, err)
		}
	})
}
