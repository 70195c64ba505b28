package bootloader

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// ReadSlot reads the manifest of slot s and looks whether each file that it lists is there in its full size: then the
// slot is complete. No file is read but the manifest. Whether the partitions of its images are there is not looked at.
func ReadSlot(boot *bootfs.FS, s Slot) (Manifest, error) {
	data, err := boot.ReadFile(s.File(ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, errors.New("no manifest")
	}
	if err != nil {
		return Manifest{}, err
	}
	m, err := DecodeManifest(data)
	if err != nil {
		return Manifest{}, err
	}
	for _, f := range m.Files {
		info, err := boot.Stat(s.File(f.Name))
		if err != nil {
			return Manifest{}, err
		}
		if info.Size != f.Size {
			return Manifest{}, fmt.Errorf("%s has %d bytes, its manifest says %d", f.Name, info.Size, f.Size)
		}
	}
	return m, nil
}

// Holds reports whether the manifest lists a file.
func (m Manifest) Holds(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name })
}

// CheckTries refuses a number of trial boots that is not from 1 to most.
func CheckTries(tries, most int) error {
	if tries < 1 || tries > most {
		return fmt.Errorf("%d tries: want 1 to %d", tries, most)
	}
	return nil
}
