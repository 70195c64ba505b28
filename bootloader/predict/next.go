package predict

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/partition/device"
)

// Next predicts the next n boots, one after the other, each with the reasons in Outcome.Why. What a boot uses up (a
// one-shot variable, one of GRUB's counted tries) is gone for the one after it, and nobody is taken to confirm: behind
// a trial comes the fallback. Nothing is written: what a loader would write stays in memory, and vars is copied.
//
// An error means that the model does not know what would happen, or that vars cannot be listed.
func Next(disk device.Reader, vars efivar.Store, n int, o Options) ([]Outcome, error) {
	held, err := Variables(vars)
	if err != nil {
		return nil, fmt.Errorf("predict: %w", err)
	}
	over := NewOverlay(disk)
	if o.Verdicts == nil {
		o.Verdicts = new(Verdicts)
	}
	var boots []Outcome
	for i := range n {
		o.Explain = true
		out, err := Boot(over, held, o)
		if err != nil {
			return boots, fmt.Errorf("predict boot %d: %w", i+1, err)
		}
		boots = append(boots, out)
	}
	return boots, nil
}

// Variables copies those of a machine's variables that boots depend on, so that boots can be played on them. A nil
// store has none. One that cannot be read is such in the copy too: a boot that depends on it is not modelled.
func Variables(from efivar.Store) (*efivar.Memory, error) {
	to := efivar.NewMemory()
	if from == nil {
		return to, nil
	}
	names, err := from.List()
	if err != nil {
		return nil, fmt.Errorf("list the firmware's variables: %w", err)
	}
	for _, name := range names {
		if name.GUID != efivar.Global("").GUID && name.GUID != efivar.Loader("").GUID &&
			name.GUID != secureboot.Database("").GUID && name.GUID != secureboot.Mok("").GUID {
			continue
		}
		v, err := from.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has gone since
		}
		if err != nil {
			if to.Unreadable == nil {
				to.Unreadable = map[efivar.Name]error{}
			}
			to.Unreadable[name] = err
			continue
		}
		if len(v.Data) == 0 {
			continue // efivarfs shows a variable so while another program writes it
		}
		if err := to.Write(name, v); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// Overlay is a disk that keeps what is written to it in memory and leaves the one below as it is. It is for a few small
// writes, each of whole sectors, and not safe for concurrent use.
type Overlay struct {
	device.Reader
	sectors map[int64][]byte
}

// NewOverlay returns an overlay that holds nothing yet.
func NewOverlay(disk device.Reader) *Overlay { return &Overlay{disk, map[int64][]byte{}} }

// Clone returns another overlay that holds the same, over the same disk.
func (v *Overlay) Clone() *Overlay { return &Overlay{v.Reader, maps.Clone(v.sectors)} }

// ReadAt follows [io.ReaderAt]. A sector that was written is read from memory, also where the disk cannot read its own.
func (v *Overlay) ReadAt(p []byte, off int64) (int, error) {
	size := int64(v.SectorSize())
	if n, err := v.Reader.ReadAt(p, off); err == nil && n == len(p) {
		lay := func(at int64, s []byte) {
			from := max(off-at*size, 0)
			copy(p[at*size+from-off:], s[from:])
		}
		first, end := off/size, (off+int64(len(p))+size-1)/size
		if int64(len(v.sectors)) < end-first {
			for at, s := range v.sectors {
				if first <= at && at < end {
					lay(at, s)
				}
			}
			return n, nil
		}
		for at := first; at < end; at++ {
			if s := v.sectors[at]; s != nil {
				lay(at, s)
			}
		}
		return n, nil
	}
	n := 0
	for n < len(p) {
		at, from := (off+int64(n))/size, (off+int64(n))%size
		part := p[n:min(len(p), n+int(size-from))]
		if s := v.sectors[at]; s != nil {
			n += copy(part, s[from:])
			continue
		}
		got, err := v.Reader.ReadAt(part, off+int64(n))
		if n += got; got < len(part) {
			return n, err
		}
	}
	return n, nil
}

// WriteAt follows [io.WriterAt]; it takes whole sectors only.
func (v *Overlay) WriteAt(p []byte, off int64) (int, error) {
	size := int64(v.SectorSize())
	if off%size != 0 || int64(len(p))%size != 0 || off < 0 || off+int64(len(p)) > v.Size() {
		return 0, fmt.Errorf("write %d bytes at %d to an overlay: %w", len(p), off, io.ErrShortWrite)
	}
	for i := int64(0); i < int64(len(p)); i += size {
		v.sectors[(off+i)/size] = append([]byte(nil), p[i:i+size]...)
	}
	return len(p), nil
}

// Sync does nothing: there is nothing to keep.
func (v *Overlay) Sync() error { return nil }
