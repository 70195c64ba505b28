package predict_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
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
	for _, at := range []int64{v.Start() + 11, v.Start() + 44, v.Table(), v.Table() + 8, v.Data(), v.Data() + 20,
		v.Data() + 4096} {
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
		answers(t, d, efivar.NewMemory())
	})
}

// Whatever the variables hold, the same.
func FuzzVariables(f *testing.F) {
	m := disk(f, base(nil))
	f.Add([]byte{1, 0}, []byte("\x01\x00\x00\x00"), []byte("p\x00a\x00\x00\x00"), []byte{1, 0})
	data, err := efivar.LoadOption{Attributes: efivar.Active, Description: "Pawl",
		Path: []efivar.Node{m.Partition.Node(), efivar.FilePath(loaderFile), efivar.End()}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{1, 0, 1, 0}, data, efivar.EncodeString("pawl-b.conf"), []byte{})
	f.Fuzz(func(t *testing.T, order, option, oneShot, next []byte) {
		vars := efivar.NewMemory()
		for name, data := range map[efivar.Name][]byte{
			efivar.Global("BootOrder"): order, efivar.Boot(1): option, efivar.Loader("LoaderEntryOneShot"): oneShot,
			efivar.Loader("LoaderEntryDefault"): oneShot, efivar.Global("BootNext"): next,
		} {
			if len(data) > 0 {
				if err := vars.Write(name, efivar.Variable{Attributes: efivar.Kept, Data: data}); err != nil {
					t.Fatal(err)
				}
			}
		}
		answers(t, m.Disk, vars)
	})
}

// answers requires that each boot ends somewhere, and that Next says the same of the first as Boot.
func answers(t *testing.T, d device.Reader, vars *efivar.Memory) {
	o := predict.Made(d)
	boots, err := predict.Next(d, vars, 2, o)
	for _, b := range boots {
		if b.Stuck == "" && b.Path == "" {
			t.Fatalf("neither booted nor stuck: %v", b)
		}
	}
	order, orderErr := predict.Order(d, vars, o)
	if n := predict.Starts(order); n > len(order) {
		t.Fatalf("%d starts in %d options, %v", n, len(order), orderErr)
	}
	played, playedErr := predict.Boot(predict.NewOverlay(d), vars, o)
	if err == nil && (playedErr != nil || played.String() != boots[0].String()) {
		t.Fatalf("predicted %v, played %v, %v", boots[0], played, playedErr)
	}
}

func FuzzLoadImage(f *testing.F) {
	f.Add(loadertest.Loader("amd64"))
	f.Add(loadertest.Kernel("amd64", []byte("payload")))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := predict.LoadImage(b, arch.Usual().Machine)
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
