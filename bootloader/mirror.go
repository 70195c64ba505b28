package bootloader

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// MirrorFile is on a second boot file system alone, and says whose mirror it is: see package upgrade/mirror.
const MirrorFile = "EFI/pawl/mirror.json"

// ErrMirror is returned where a machine was started from its second boot file system, and the first one is on no disk
// that can be read. It runs the version that was confirmed last. Do: attach the first disk again; or install another
// one, and give it a second boot file system anew.
var ErrMirror = errors.New("this machine runs from its second boot file system, and the first one is gone")

type mirrorOf struct {
	Of string `json:"of"` // GUID of the partition of the first boot file system
}

// EncodeMirror is the content of MirrorFile on a mirror of the boot file system in the partition of that GUID.
func EncodeMirror(of string) []byte {
	data, _ := json.Marshal(mirrorOf{of}) // a string always is JSON
	return append(data, '\n')
}

// MirrorOf is the GUID of the partition whose mirror a boot file system is; "" where it is none.
func MirrorOf(boot *bootfs.FS) (string, error) {
	data, err := boot.ReadFile(MirrorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var m mirrorOf
	if err := json.Unmarshal(data, &m); err != nil {
		return "", fmt.Errorf("%s: %w", MirrorFile, err)
	}
	guid, err := uuid.Parse(m.Of)
	if err != nil {
		return "", fmt.Errorf("%s: %w", MirrorFile, err)
	}
	return guid.String(), nil
}
