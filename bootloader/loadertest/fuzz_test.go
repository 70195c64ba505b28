package loadertest

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Whatever a disk holds, the model answers: no panic, no endless loop.
func FuzzBoot(f *testing.F) {
	f.Add(int64(0), []byte("junk"))
	f.Add(int64(512), []byte{1})
	m := disk(f, base(nil))
	v, err := openVolume(m.Disk, mustParts(m)[0], false)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []int64{v.part.start + 11, v.part.start + 44, v.table, v.table + 8, v.data, v.data + 20, v.data + 4096} {
		f.Add(at, []byte{2, 0, 0, 0, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, off int64, b []byte) {
		d := m.Disk.Clone()
		sector := make([]byte, 512)
		off = max(0, off) % (diskSize - 512)
		for at := off / 512 * 512; len(b) > 0; at += 512 {
			if at+512 > diskSize {
				return
			}
			if _, err := d.ReadAt(sector, at); err != nil {
				t.Fatal(err)
			}
			n := copy(sector[max(off-at, 0):], b)
			b = b[n:]
			if _, err := d.WriteAt(sector, at); err != nil {
				t.Fatal(err)
			}
		}
		if o, err := Boot(d, efivar.NewMemory(), Options{}); err == nil && o.Stuck == "" && o.Path == "" {
			t.Fatalf("neither booted nor stuck: %v", o)
		}
	})
}

func mustParts(m *Machine) []partition {
	parts, err := readGPT(m.Disk)
	if err != nil {
		panic(err)
	}
	return parts
}
func FuzzLoadImage(f *testing.F) {
	f.Add(Loader("amd64"))
	f.Add(Kernel("amd64", []byte("payload")))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := loadImage(b, machineX64)
		if err != nil {
			return
		}
		for _, s := range sections {
			if len(s.data) > len(b) {
				t.Fatalf("section %s of %d bytes in a file of %d", s.name, len(s.data), len(b))
			}
		}
	})
}
