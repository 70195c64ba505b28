package efivar

import (
	"bytes"
	"testing"
)

func FuzzDecodeLoadOption(f *testing.F) {
	for _, text := range ovmf {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := DecodeLoadOption(b)
		if err != nil {
			return
		}
		again, err := o.Encode()
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
		o.File()
		for _, n := range o.Path {
			if h, ok := n.HardDrive(); ok && !bytes.Equal(h.Node().Data, n.Data) {
				t.Fatalf("node %x became %x", n.Data, h.Node().Data)
			}
		}
	})
}

func FuzzDecodeString(f *testing.F) {
	f.Add(EncodeString("pawl-a.conf"))
	f.Add([]byte{0x00, 0xd8, 0x00, 0xdc})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeString(b)
		if err != nil {
			return
		}
		again := EncodeString(s)
		if !bytes.HasPrefix(append(b, 0, 0), again) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add(Boot(1).String())
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if again, err := ParseName(n.String()); err != nil || again != n {
			t.Fatalf("%q became %v, %v", s, again, err)
		}
	})
}
