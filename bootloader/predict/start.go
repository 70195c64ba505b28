package predict

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// load reads an image and checks it as the firmware does, and notes it as what runs.
func (b *boot) load(v *volume, path string) ([]section, error) {
	f, err := v.open(path)
	if err != nil {
		return nil, err
	}
	t, err := b.take(v, f)
	if err != nil {
		return nil, err
	}
	sections := []section{{name: ".linux", data: []byte{0}}}
	if !b.good(path) {
		if sections, err = loadImage(t, t.size, b.machine().Machine); err != nil {
			return nil, err
		}
		if b.o.Refuses != "" && b.digest(t) == b.o.Refuses {
			return nil, errRefused
		}
		if err := b.accepted(v, path, f, t, sections); err != nil {
			return nil, err
		}
	}
	b.out.Path, b.out.Slot, b.out.Digest = cleanPath(path), slotOf(path), b.digest(t)
	return sections, nil
}

// good reports whether a file is taken for what it is to become.
func (b *boot) good(path string) bool { return b.o.Good != nil && b.o.Good(cleanPath(path)) }

// taken is a file that something loads.
type taken struct {
	io.ReaderAt
	size int64
}

// take reads a file whole, as firmware and loaders do, or with Options.Skim opens it for what is asked of it.
func (b *boot) take(v *volume, f file) (*taken, error) {
	if b.o.Skim {
		return v.skim(f)
	}
	content, err := v.content(f)
	if err != nil {
		return nil, err
	}
	return &taken{bytes.NewReader(content), f.size}, nil
}

// digest is the SHA-256 of files, one behind the other; "" where nobody asks for it.
func (b *boot) digest(files ...*taken) string {
	if b.o.NoDigest || b.o.Skim {
		return ""
	}
	h := sha256.New()
	for _, t := range files {
		_, _ = io.Copy(h, io.NewSectionReader(t, 0, t.size)) // it is in memory
	}
	return hex.EncodeToString(h.Sum(nil))
}

// slotOf is the slot whose directory holds the path.
func slotOf(path string) bootloader.Slot {
	for _, s := range bootloader.Slots() {
		if p := cleanPath(path); len(p) > len(s.Dir()) && strings.EqualFold(p[:len(s.Dir())+1], s.Dir()+"/") {
			return s
		}
	}
	return bootloader.None
}

// start starts an image from the firmware: systemd-boot is followed, anything else runs.
func (b *boot) start(v *volume, path string) error {
	sections, err := b.load(v, path)
	if err != nil {
		return err
	}
	b.out.Entry, b.out.Trial = "", false
	switch {
	case isShim(sections):
		return b.followShim(v, path, sections)
	case isSystemdBoot(sections):
		return b.systemdBoot(v, path, sections)
	case isGRUB(sections):
		return b.grub()
	}
	if find(sections, ".linux") != nil {
		// systemd's stub says where it came from when no loader did.
		b.setVolatile(efivar.Loader("LoaderImageIdentifier"),
			efivar.EncodeString("\\"+strings.ReplaceAll(cleanPath(path), "/", "\\")))
		b.setVolatile(efivar.Loader("LoaderDevicePartUUID"), efivar.EncodeString(v.part.drive.GUID.String()))
	}
	return nil
}

func isSystemdBoot(sections []section) bool {
	return strings.HasPrefix(magic(sections), sdMagic)
}

func isGRUB(sections []section) bool { return find(sections, "mods") != nil }
