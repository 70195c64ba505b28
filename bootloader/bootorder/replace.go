package bootorder

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// Safe says why the loader's file cannot be replaced without risk, nil when it can.
func (b Order) Safe() error {
	if err := b.FS.Apart(bootloader.LoaderDir); err != nil {
		return fmt.Errorf("the disk was laid out by an earlier version: %w", err)
	}
	return b.Reliable()
}

// Replace writes content in place of the loader that firmware starts. copyOf is the slot that holds the same bytes;
// that slot boots by itself, and nothing here writes to its directory, so the machine starts from the copy whatever
// becomes of the file.
//
//  1. the spare entry names the slot's copy: see Spare. A cut: the default, started by the old file.
//  2. the loader's directory is cleared, only if a cut has damaged it. A cut: the default, started by the copy.
//  3. the old file goes: one sector of the directory; flush. A cut: the default, started by the old file or the copy.
//  4. the new content, flushed; one sector of the directory; flush. A cut: the default, started by the copy or the new
//     file.
//  5. nothing: it is read back from the device. What is not as it should be goes as in 3.
//
// Where firmware starts a shim, the file is the one behind it, and the shim goes first in 3 and comes back last in 4,
// as the slot has it: what firmware finds in that directory is whole.
//
// The old file goes first, because firmware starts an image of which only a part is destroyed, and that part may be in
// a block that holds something of the new one. An image that is not there, it passes over.
//
// With force it goes on without step 1 where that cannot be done. Then the new content is put beside the old one, and
// one sector changes from one to the other; a block that is destroyed can leave a machine that does not start.
func (b Order) Replace(content []byte, copyOf bootloader.Slot, o bootloader.ReplaceOptions) error {
	files, err := b.files(content, copyOf)
	if err != nil {
		return err
	}
	spare := b.Safe()
	if spare == nil {
		spare = b.Spare(Spell(copyOf.File(bootloader.LoaderFile)))
	}
	if spare != nil && !o.Force {
		return spare
	}
	if damaged, err := b.damaged(); err != nil {
		return err
	} else if damaged {
		if err := b.FS.Clear(bootloader.LoaderDir); err != nil {
			return err
		}
	}
	if spare == nil {
		if err := b.remove(files); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := b.FS.WriteFile(f.path, f.content); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := b.readBack(f.path, f.content, o); err != nil {
			if spare == nil {
				err = errors.Join(err, b.remove(files))
			}
			return err
		}
	}
	return nil
}

// remove removes files, the last one first.
func (b Order) remove(files []file) error {
	for _, f := range slices.Backward(files) {
		if err := b.FS.Remove(f.path); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func (b Order) readBack(path string, content []byte, o bootloader.ReplaceOptions) error {
	if o.DropCache != nil {
		if err := o.DropCache(); err != nil {
			return fmt.Errorf("drop cached pages of the boot file system: %w", err)
		}
	}
	back, err := b.FS.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if string(back) != string(content) {
		return fmt.Errorf("read back %s: it holds something else; the device does not keep what is written to it", path)
	}
	return nil
}

// damaged reports whether the loader's directory, or what leads to a file in it, is not as it should be.
func (b Order) damaged() (bool, error) {
	problems, err := b.FS.Check()
	if err != nil {
		return false, err
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Path, bootloader.LoaderDir) {
			return true, nil
		}
	}
	_, err = b.FS.ReadDir(bootloader.LoaderDir)
	return err != nil && !errors.Is(err, fs.ErrNotExist), nil
}
