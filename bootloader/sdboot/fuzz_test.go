package sdboot

import (
	"bytes"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
)

func FuzzDecodeEntry(f *testing.F) {
	f.Add(pad("title Pawl\nversion 1.2.3\nsort-key 0\nefi /EFI/pawl/A/os.efi\n"))
	f.Add(empty())
	f.Add([]byte("title x\nversion 1\nsort-key 0\nefi \"/a\"\narchitecture x64\nuki /b\ninitrd /c\n"))
	f.Add([]byte("title x\r\nversion\t\"1\" \n#efi y\nefi z\x00sort-key 9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, ok := decodeEntry(data)
		if !ok {
			return
		}
		sector, err := encodeEntry(e)
		if err != nil {
			return
		}
		e.machines = ""
		if e.efi != "" {
			e.initrd, e.options, e.ways = "", "", "efi"
		} else {
			e.ways = "linux"
		}
		again, ok := decodeEntry(sector)
		if !ok || again != e || len(sector) != sectorSize {
			t.Fatalf("%+v became %+v", e, again)
		}
	})
}

func FuzzDecodeConf(f *testing.F) {
	f.Add(encodeConf(conf{}))
	f.Add(encodeConf(conf{defaultID: entryID(bootloader.B), timeout: 5}))
	f.Add([]byte("default pawl-*\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, whole := decodeConf(data)
		if whole && !bytes.Equal(encodeConf(c), data) {
			t.Fatalf("%q became %q", data, encodeConf(c))
		}
	})
}
