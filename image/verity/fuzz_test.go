package verity

import (
	"bytes"
	"testing"
)

// Whatever a block holds: no panic, and what is a superblock is written again as the same bytes.
func FuzzDecodeSuperblock(f *testing.F) {
	for _, s := range []Superblock{{DataBlocks: 1}, {DataBlocks: MaxBlocks, Salt: make([]byte, MaxSalt)},
		{DataBlocks: 300, Salt: []byte("salt"), UUID: [16]byte{1, 2}}} {
		b, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:offSalt+MaxSalt+8])
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, head []byte) {
		b := make([]byte, BlockSize) // the rest is zero: short inputs are mutated faster
		copy(b, head)
		s, err := DecodeSuperblock(b)
		if err != nil {
			return
		}
		if again, err := s.Encode(); err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}
