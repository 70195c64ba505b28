package uki_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// FuzzParse: whatever parses can be read to the last byte of each section, and its sections survive being assembled
// over a good stub.
func FuzzParse(f *testing.F) {
	stub := read(f, "stub.efi")
	f.Add(stub)
	f.Add(read(f, "objcopy.efi"))
	f.Add(assemble(f, stub, parts()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, uki.ErrFormat)
			return
		}
		for _, s := range img.Sections {
			n, err := io.Copy(io.Discard, io.NewSectionReader(s.Data, 0, s.Data.Size()))
			require.NoError(t, err)
			require.Equal(t, s.Data.Size(), n)
			var out bytes.Buffer
			if _, err := uki.Assemble(&out, section(stub), s); err != nil {
				continue
			}
			again, err := parse(out.Bytes())
			require.NoError(t, err)
			require.Equal(t, content(t, img, s.Name), content(t, again, s.Name))
		}
	})
}
