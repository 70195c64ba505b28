package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// loaderFile is the loader that firmware starts without being told one.
const loaderFile = bootloader.LoaderDir + "/BOOTX64.EFI"

// loaderOf is which loader a version brings: "" is the one of the first install.
func loaderOf(version string) string {
	return map[string]string{"1.2.6": "253.1", "1.2.7": "254", "1.2.8": "253.1", "1.2.21": "253.1",
		"1.2.22": "254"}[version]
}

func (m *machine) replaceLoader() error {
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.ReplaceLoader(m.context(), upgrade.LoaderOptions{Progress: m.step})
		return err
	})
}

// otherLoader is a machine whose default has brought another loader, which is not installed.
var otherLoader = start{"another loader", func(m *machine, t bootloader.Slot) error { return m.moveTo(t, "1.2.6") }}

// triedLoader is the same machine once that loader has started it.
var triedLoader = otherLoader.then("tried", tryLoader)

// refusedLoader is the same machine with firmware that does not start that loader.
var refusedLoader = otherLoader.then("which does not start", func(m *machine, _ bootloader.Slot) error {
	l, err := m.loaders()
	sum := sha256.Sum256(l.new)
	m.refuses = hex.EncodeToString(sum[:])
	return err
})

// ownLoader is the same machine once the loader is installed, so that firmware knows of the copy in the slot.
var ownLoader = triedLoader.then("installed", func(m *machine, _ bootloader.Slot) error { return m.replaceLoader() })

// tryLoader has firmware start the new loader, and boots.
func tryLoader(m *machine, _ bootloader.Slot) error {
	if err := m.replaceLoader(); err != nil {
		return err
	}
	return m.next(m.last.Slot)
}

// replacements are the operations that try and replace the loader. In all of them the default boots; what starts it is
// the old loader, the new one, or the copy in the default's slot.
func replacements() []operation {
	moved := func(version string) func(*machine, bootloader.Slot) error {
		return func(m *machine, t bootloader.Slot) error { return m.moveTo(t.Other(), version) }
	}
	another := ownLoader.then("then yet another", moved("1.2.7"))
	return []operation{
		{name: "try the loader", end: stays, loader: true, leaves: true, do: (*machine).replaceLoader,
			starts: []start{otherLoader, another}},
		{name: "a loader that does not start", end: stays, loader: true, leaves: true, do: func(m *machine) error {
			if err := m.replaceLoader(); !errors.Is(err, bootloader.ErrRefused) {
				return err
			}
			return nil
		}, starts: []start{refusedLoader, refusedLoader.then("and was tried", tryLoader)}},
		{name: "replace the loader", end: stays, loader: true, do: (*machine).replaceLoader, starts: []start{
			triedLoader,
			another.then("tried", tryLoader),
			ownLoader.then("then the same in the other slot", moved("1.2.8")),
			ownLoader.then("then its file gone", func(m *machine, _ bootloader.Slot) error {
				f, err := m.fs(slotZones...)
				if err == nil {
					err = f.Remove(loaderFile)
				}
				if err != nil {
					return err
				}
				return m.boot()
			}),
			ownLoader.then("then its directory destroyed", func(m *machine, _ bootloader.Slot) error {
				if err := m.destroyLoaderDir(); err != nil {
					return err
				}
				return m.boot()
			}),
		}},
	}
}

// replacement is the last of them.
func replacement() operation { return replacements()[2] }

// destroyLoaderDir overwrites the directory that the loader is in, as a cut can.
func (m *machine) destroyLoaderDir() error {
	p, err := m.part("EFI")
	if err != nil {
		return err
	}
	b := make([]byte, 512)
	for at := int64(0); at < p.Size(); at += 512 {
		if _, err := p.ReadAt(b, at); err == nil && bytes.HasPrefix(b, []byte(".          ")) &&
			bytes.Contains(b, []byte("BOOTX64 EFI")) {
			_, err = p.WriteAt(pattern("\x05\xfe\x7fno directory", 512), at)
			return err
		}
	}
	return errors.New("no directory has the loader in it")
}

// replaced are the old and the new loader of an operation that replaces it; nil for one that is not there.
type replaced struct{ old, new []byte }

func (m *machine) loaders() (l replaced, err error) {
	f, err := m.fs(slotZones...)
	if err != nil {
		return l, err
	}
	place, err := m.place()
	if err != nil {
		return l, err
	}
	l.old, _ = f.ReadFile(place)
	l.new, err = f.ReadFile(m.last.Slot.File(bootloader.LoaderFile))
	return l, err
}

// replaced looks at the loader that a cut left: the old one or the new one, whole, or none that anybody would start.
// Once the operation said that it is done, it is the new one.
func (r *recorded) replaced(m *machine, c *disktest.Crash) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	place, err := m.place()
	if err != nil {
		return err
	}
	if place == behindShim {
		if there, err := m.shimKept(c.Finished); err != nil || !there {
			return err
		}
	}
	data, err := f.ReadFile(place)
	switch {
	case r.op.leaves && (err != nil || !bytes.Equal(data, r.loaders.old)):
		return fmt.Errorf("the loader is not the old one, and the new one has not started the machine: %v", err)
	case r.op.leaves:
		return nil
	case c.Finished && err != nil:
		return fmt.Errorf("it is done, and the loader is not there: %w", err)
	case err != nil, bytes.Equal(data, r.loaders.new):
		return nil
	case c.Finished:
		return errors.New("it is done, and the loader is not the new one")
	case r.loaders.old != nil && bytes.Equal(data, r.loaders.old):
		return nil
	}
	return errors.New("the loader that firmware would start is neither the old one nor the new one")
}

// replaceAgain runs it once more, as often as a loader that starts needs, and requires that the new one is installed.
// One that does not start is left, and so is one whose boot could not say so.
func (r *recorded) replaceAgain(m *machine) error {
	var l replaced
	for range 3 {
		err := m.replaceLoader()
		if left := errors.Is(err, bootloader.ErrRefused); err != nil && !(left && r.op.leaves) {
			return fmt.Errorf("replace the loader again: %w", err)
		}
		if l, err = m.loaders(); err != nil {
			return err
		}
		if bytes.Equal(l.old, r.loaders.new) {
			break
		}
		if err := m.next(m.last.Slot); err != nil {
			return err
		}
	}
	if installed := bytes.Equal(l.old, r.loaders.new); installed == (m.refuses != "") {
		return fmt.Errorf("after it was run again, the new loader is installed: %v", installed)
	}
	if err := r.settled(m, r.old); err != nil {
		return err
	}
	_, err := m.started()
	return err
}

// drive is the boot file system's partition as firmware names it.
func (m *machine) drive() (efivar.HardDrive, error) {
	layout, err := partition.Read(m.disk)
	if err != nil {
		return efivar.HardDrive{}, err
	}
	p, err := layout.Find("EFI")
	if err != nil {
		return efivar.HardDrive{}, err
	}
	guid, err := efivar.ParseGUID(p.GUID.String())
	return efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid},
		err
}
