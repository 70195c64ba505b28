package grubenv_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/pawl-os/pawl/bootloader/grubenv"
)

// Whatever the bytes: no panic; what is accepted keeps its length and its other variables when one changes.
func FuzzBlock(f *testing.F) {
	f.Add([]byte(made), "trial", "A")
	f.Add([]byte(grubenv.Signature+"# comment\na=\\\nb\nc=d\n#####"), "a", "\\")
	f.Add([]byte(grubenv.New(30)), "x", "\n")
	f.Fuzz(func(t *testing.T, data []byte, name, value string) {
		b, err := grubenv.Parse(bytes.Clone(data))
		if err != nil {
			_, _ = grubenv.Scan(data)
			if !errors.Is(err, grubenv.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		before := b.Variables()
		if scanned, err := grubenv.Scan(data); err != nil || !slices.Equal(scanned, before) {
			t.Fatalf("%q: %v, scanned %v: %v", data, before, scanned, err)
		}
		if err := b.Set(name, value); err != nil {
			if !bytes.Equal(b, data) {
				t.Fatal("changed by a Set that was refused")
			}
			return
		}
		if len(b) != len(data) {
			t.Fatal("the length changed")
		}
		if _, err := grubenv.Parse(b); err != nil {
			t.Fatalf("%v: %q", err, b)
		}
		if got, ok := b.Lookup(name); !ok || got != value {
			t.Fatalf("%q: got %q, want %q", b, got, value)
		}
		for _, v := range before {
			if got, ok := b.Lookup(v.Name); v.Name != name && (!ok || got != v.Value) {
				t.Fatalf("%q: %s was %q, is %q", b, v.Name, v.Value, got)
			}
		}
	})
}
