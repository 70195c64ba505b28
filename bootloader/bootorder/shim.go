package bootorder

import (
	"bytes"
	"debug/pe"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// Behind reports whether firmware starts a shim, which starts the loader: one lies in the loader's place, or, where a
// cut has left no program there, the entry for a copy goes through one.
func (b Order) Behind() (bool, error) {
	content, err := Read(b.FS, slashes(b.Loader))
	if err == nil && IsProgram(content) {
		return IsShim(content), nil
	}
	names, err := b.Vars.List()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name efivar.Name) bool {
		n, ok := name.BootNumber()
		if !ok {
			return false
		}
		o, err := Option(b.Vars, n)
		return err == nil && b.copyOf(o) != "" && len(o.Optional) > 0
	}), nil
}

// Lost reports whether no program lies where firmware looks, as a cut may leave it.
func (b Order) Lost() bool {
	content, err := Read(b.FS, slashes(b.Loader))
	return err != nil || !IsProgram(content)
}

// Place is where the loader itself lies, with slashes: where firmware looks, or behind the shim that is there.
func (b Order) Place() (string, error) {
	first := strings.TrimPrefix(slashes(b.Loader), "/")
	behind, err := b.Behind()
	if err != nil || !behind {
		return first, err
	}
	machine, err := arch.OfLoader(path.Base(first))
	return path.Join(path.Dir(first), machine.BehindShim()), err
}

// shimBeside is the shim beside a copy of a loader, as firmware spells it.
func shimBeside(copied string) string {
	return Spell(path.Join(path.Dir(slashes(copied))[1:], bootloader.ShimFile))
}

// tells is what an entry has a shim start: a path below EFI, which a shim takes as it is.
func tells(copied string) []byte { return efivar.EncodeString(copied) }

// copyOf is the copy of a loader that an option starts, at once or by the shim beside it, as firmware spells it; "" for
// none.
func (b Order) copyOf(o efivar.LoadOption) string {
	drive, named, short, ok := o.Target()
	if !ok || !short || !b.here(drive) {
		return ""
	}
	return copyNamed(named, o.Optional)
}

func copyNamed(named string, optional []byte) string {
	for _, c := range Copies() {
		if strings.EqualFold(c, named) || strings.EqualFold(shimBeside(c), named) && bytes.Equal(optional, tells(c)) {
			return c
		}
	}
	return ""
}

// toCopy is the option that starts the copy at path: where firmware starts a shim, by the shim beside the copy.
func (b Order) toCopy(path string) (efivar.LoadOption, error) {
	o := b.named(spareTitle(b.Title), path)
	behind, err := b.Behind()
	if err != nil || !behind {
		return o, err
	}
	if _, err := b.FS.Stat(slashes(shimBeside(path))); missing(err) {
		return o, nil // Unsafe says so
	} else if err != nil {
		return o, err
	}
	o = b.named(spareTitle(b.Title), shimBeside(path))
	o.Optional = tells(path)
	return o, nil
}

// Unsafe says why the loader of slot s, content, cannot be put in the place of the one that starts today, or not
// without risk; nil when it can. Where firmware starts a shim, that shim and the slot's have to be the same, which lets
// it start. With [bootloader.ErrNotOurs] they are not, and force replaces both.
func (b Order) Unsafe(s bootloader.Slot, content []byte) error {
	err := b.acceptsIn(s, content)
	if err == nil {
		if err = b.Safe(); err != nil {
			err = fmt.Errorf("%w: %w", bootloader.ErrRisk, err)
		}
	}
	return err
}

func (b Order) acceptsIn(s bootloader.Slot, content []byte) error {
	behind, err := b.Behind()
	if err != nil {
		return fmt.Errorf("%w: %w", bootloader.ErrRisk, err)
	}
	if !behind {
		return b.Accepts(content)
	}
	machine, err := arch.OfLoader(path.Base(slashes(b.Loader)))
	if err != nil {
		return err
	}
	if err := For(content, machine.Name); err != nil {
		return err
	}
	installed, unread := Read(b.FS, slashes(b.Loader)) // which a cut may have left out
	shim, err := Read(b.FS, s.File(bootloader.ShimFile))
	switch {
	case missing(err):
		return fmt.Errorf("a shim starts the loader, and this version brings none for firmware to go on to "+
			"(pack that shim into its image): %w", bootloader.ErrNotOurs)
	case err != nil:
		return fmt.Errorf("%w: %w", bootloader.ErrRisk, err)
	}
	if err := For(shim, machine.Name); err != nil {
		return fmt.Errorf("the shim of this version: %w", err)
	}
	if !IsShim(shim) {
		return fmt.Errorf("the shim of this version is none: %w", bootloader.ErrForbidden)
	}
	same := bytes.Equal(shim, installed)
	if err := b.acceptsBehind(shim, content, same); err != nil {
		return err
	}
	if fallback := path.Join(path.Dir(slashes(b.Loader)), machine.ShimFallback()); b.there(fallback) {
		return fmt.Errorf("beside the shim is %s, which it starts first: %w", fallback, bootloader.ErrRisk)
	}
	if unread == nil && IsProgram(installed) && !same {
		return fmt.Errorf("the shim that firmware starts is not the one of this version (force replaces both): %w",
			bootloader.ErrNotOurs)
	}
	return nil
}

func (b Order) there(path string) bool {
	_, err := b.FS.Stat(path)
	return err == nil
}

// acceptsBehind says why firmware does not start a shim, or that shim not a loader, or neither is known. known: this
// firmware has started that shim.
func (b Order) acceptsBehind(shim, content []byte, known bool) error {
	firmware := secureboot.Read(b.Vars)
	if !firmware.Checks() {
		return nil
	}
	first, err := authenticode.Read(shim)
	if err == nil {
		err = firmware.Judge(first)
	}
	if err != nil && !(known && errors.Is(err, secureboot.ErrUnknown)) {
		return refusal("the shim of this version", err)
	}
	second, err := authenticode.Read(content)
	if err == nil {
		vendor, _ := section(shim, secureboot.VendorSection)
		levels, _ := section(shim, secureboot.LevelsSection)
		own, _ := section(content, secureboot.LevelsSection)
		err = firmware.Shim(vendor, levels).Loader(second, own)
	}
	if !errors.Is(err, secureboot.ErrUnknown) {
		return refusal("behind the shim it", err)
	}
	if _, today, err := b.today(); err == nil {
		if trusted, err := authenticode.Read(today); err == nil && second.By(trusted.Signers()) {
			return nil
		}
	}
	return refusal("behind the shim it", err)
}

// refusal is an error of signatures as one of replacing a loader.
func refusal(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, secureboot.ErrRefused), errors.Is(err, authenticode.ErrFormat):
		return fmt.Errorf("%s is not started: %w: %w (sign it with a key that this firmware or the shim knows, and build "+
			"the image again)", what, err, bootloader.ErrForbidden)
	}
	return fmt.Errorf("%s may not be started: %w: %w", what, err, bootloader.ErrRefused)
}

// section reads a section of a program whole; nil where it has none. Its name may be one of a shim's long ones.
func section(program []byte, name string) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	s := f.Section(name)
	if s == nil {
		return nil, nil
	}
	data, err := s.Data()
	return data[:min(len(data), int(s.VirtualSize))], err
}

// Put writes a loader to where firmware looks, or behind a shim, and that last. What is there already stays.
func Put(fsys *bootfs.FS, loader, shim []byte) error {
	machine, err := Machine(loader)
	if err != nil {
		return fmt.Errorf("the loader: %w", err)
	}
	files := []file{{machine.Removable(), loader}}
	if shim != nil {
		err := For(shim, machine.Name)
		if err == nil && !IsShim(shim) {
			err = bootloader.ErrForbidden
		}
		if err != nil {
			return fmt.Errorf("the shim: %w", err)
		}
		files = []file{{path.Join(bootloader.LoaderDir, machine.BehindShim()), loader}, {machine.Removable(), shim}}
	}
	for _, f := range files {
		if old, err := fsys.ReadFile(f.path); err == nil && bytes.Equal(old, f.content) {
			continue
		}
		if err := fsys.WriteFile(f.path, f.content); err != nil {
			return err
		}
	}
	return nil
}

// file is what is to lie at a path.
type file struct {
	path    string
	content []byte
}

// files are what a replacement writes, in order: the loader, or the loader behind a shim and then the slot's shim.
// Where firmware starts a shim and the slot has none, that one is left.
func (b Order) files(content []byte, s bootloader.Slot) ([]file, error) {
	behind, err := b.Behind()
	if err != nil {
		return nil, err
	}
	first := strings.TrimPrefix(slashes(b.Loader), "/")
	if !behind {
		return []file{{first, content}}, nil
	}
	second, err := b.Place()
	if err != nil {
		return nil, err
	}
	shim, err := Read(b.FS, s.File(bootloader.ShimFile))
	if missing(err) {
		return []file{{second, content}}, nil
	}
	return []file{{second, content}, {first, shim}}, err
}
