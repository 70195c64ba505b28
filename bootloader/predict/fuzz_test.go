package predict_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// Whatever a disk holds, the model answers: no panic, no endless loop.
func FuzzBoot(f *testing.F) {
	f.Add(int64(0), []byte("junk"))
	f.Add(int64(512), []byte{1})
	m := disk(f, base(nil))
	v, err := predict.Volume(m.Disk, false)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []int64{v.Start() + 11, v.Start() + 44, v.Table(), v.Table() + 8, v.Data(), v.Data() + 20, v.Data() + 4096} {
		f.Add(at, []byte{2, 0, 0, 0, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, off int64, b []byte) {
		d := m.Disk.Clone()
		sector := make([]byte, 512)
		off = max(0, off) % (m.Disk.Size() - 512)
		for at := off / 512 * 512; len(b) > 0; at += 512 {
			if at+512 > m.Disk.Size() {
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
		if o, err := predict.Boot(d, efivar.NewMemory(), predict.Options{}); err == nil && o.Stuck == "" && o.Path == "" {
			t.Fatalf("neither booted nor stuck: %v", o)
		}
	})
}

func FuzzLoadImage(f *testing.F) {
	f.Add(loadertest.Loader("amd64"))
	f.Add(loadertest.Kernel("amd64", []byte("payload")))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := predict.LoadImage(b, predict.MachineX64)
		if err != nil {
			return
		}
		for _, s := range sections {
			if len(s.Data()) > len(b) {
				t.Fatalf("section %s of %d bytes in a file of %d", s.Name(), len(s.Data()), len(b))
			}
		}
	})
}
