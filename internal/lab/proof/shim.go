package proof

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

const replaceBehindShim = "replace the loader behind a shim"

// behindShim is where the loader lies that a shim starts.
const behindShim = bootloader.LoaderDir + "/grubx64.efi"

// shimOf is the shim that a version brings; nil: none.
func shimOf(version string) []byte {
	if version == "1.2.21" || version == "1.2.22" {
		return loadertest.Shim("amd64")
	}
	return nil
}

// shimmed is a machine whose firmware starts a shim, and whose default has brought that shim and another loader, which
// is not installed.
var shimmed = start{"another loader behind a shim", func(m *machine, t bootloader.Slot) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	loader, err := f.ReadFile(loaderFile)
	if err != nil {
		return err
	}
	if err := f.WriteFile(behindShim, loader); err != nil {
		return err
	}
	if err := f.Remove(loaderFile); err != nil {
		return err
	}
	if err := f.WriteFile(loaderFile, shimOf("1.2.21")); err != nil {
		return err
	}
	if err := m.boot(); err != nil {
		return err
	}
	return m.moveTo(t, "1.2.21")
}}

// triedBehindShim is the same machine once that loader has started it, by the shim beside it.
var triedBehindShim = shimmed.then("tried", tryLoader)

// behindShims are the operations that try and replace the loader behind a shim.
func behindShims() []operation {
	installed := triedBehindShim.then("installed", func(m *machine, _ bootloader.Slot) error { return m.replaceLoader() })
	gone := func(paths ...string) func(*machine, bootloader.Slot) error {
		return func(m *machine, _ bootloader.Slot) error {
			f, err := m.fs(slotZones...)
			if err != nil {
				return err
			}
			for _, path := range paths {
				if err := f.Remove(path); err != nil {
					return err
				}
			}
			return m.boot()
		}
	}
	return []operation{
		{name: "try the loader behind a shim", end: stays, loader: true, leaves: true, do: (*machine).replaceLoader,
			starts: []start{shimmed}},
		{name: replaceBehindShim, end: stays, loader: true, do: (*machine).replaceLoader, starts: []start{
			triedBehindShim,
			installed.then("then yet another", func(m *machine, t bootloader.Slot) error {
				return m.moveTo(t.Other(), "1.2.22")
			}).then("tried", tryLoader),
			installed.then("then its file gone", gone(behindShim)),
			installed.then("then the shim gone", gone(loaderFile)),
			installed.then("then its directory destroyed", func(m *machine, _ bootloader.Slot) error {
				if err := m.destroyLoaderDir(); err != nil {
					return err
				}
				return m.boot()
			}),
		}},
	}
}

// place is where the loader lies: behind a shim where the default has brought one.
func (m *machine) place() (path string, err error) {
	f, err := m.fs(slotZones...)
	if err != nil {
		return "", err
	}
	if _, err := f.Stat(m.last.Slot.File(bootloader.ShimFile)); err == nil {
		return behindShim, nil
	}
	return loaderFile, nil
}

// shimKept looks at the shim that a cut left in front of the loader, and says whether it is there: whole, and certainly
// where the operation said that it is done. Without it nothing starts what is behind it.
func (m *machine) shimKept(done bool) (there bool, err error) {
	f, err := m.fs(slotZones...)
	if err != nil {
		return false, err
	}
	data, err := f.ReadFile(loaderFile)
	switch {
	case err != nil && done:
		return false, fmt.Errorf("it is done, and the shim is not there: %w", err)
	case err != nil:
		return false, nil
	case !bytes.Equal(data, shimOf("1.2.21")):
		return false, fmt.Errorf("what firmware would start is no shim, but %d bytes of something else", len(data))
	}
	return true, nil
}
