package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/device"
)

// update makes the mirror what it is to be. What cannot be changed file by file, because it is no file system of ours
// or a cut has damaged it, is made anew.
func (x *mirror) update(ctx context.Context, w *wanted) error {
	if err := w.verify(); err != nil {
		return err
	}
	u := &update{ctx: ctx, w: w, dev: x.dev}
	err := u.open()
	if err == nil {
		err = u.run()
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, bootfs.ErrFull) {
		return err
	}
	return u.anew()
}

// update is one change of a mirror.
type update struct {
	ctx context.Context
	w   *wanted
	dev device.Device
	fs  *bootfs.FS
}

func (u *update) open() (err error) {
	u.fs, err = openVolume(u.dev)
	return err
}

// anew formats the mirror and fills it.
//
//  1. an empty file system. A cut: firmware finds none, or one without a loader.
//  2. run.
func (u *update) anew() error {
	err := bootfs.Format(u.dev, bootfs.FormatOptions{Label: "EFI", VolumeID: volumeID(u.w.place), Time: time.Now()})
	if err == nil {
		err = u.open()
	}
	if err == nil {
		err = u.run()
	}
	return err
}

// run has these steps. What the mirror starts if power fails in
//
//	slot, early  the version that it held: its slot is another zone, and its loader knows of no other
//	disable      that version, or nothing: it has no loader, and firmware passes over it
//	slot, late   nothing, as the slot that is written is the one that it started
//	rest, tidy   nothing
//	enable       nothing until the loader's entry in its directory is written; then the new version
//
// All that comes before enable is read back from the device.
func (u *update) run() error {
	for _, dir := range bootloader.Zones() { // first, so that they are apart
		if err := u.fs.Mkdir(dir); err != nil {
			return err
		}
	}
	steps := []func() error{u.disable, u.slot, u.rest, u.tidy, u.enable}
	if u.starts() == u.w.slot.Other() {
		steps = []func() error{u.slot, u.disable, u.rest, u.tidy, u.enable}
	}
	for _, do := range steps {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// starts is the slot that the mirror starts now; None where that is not known.
func (u *update) starts() bootloader.Slot {
	st, err := u.state()
	if err != nil {
		return bootloader.None
	}
	return st.Default
}

func (u *update) state() (bootloader.State, error) {
	loader, err := u.w.backend.Open(bootloader.Config{Disk: u.w.place, FS: u.fs, Idle: true})
	if err != nil {
		return bootloader.State{}, err
	}
	return loader.State()
}

// slot writes the slot, its manifest last, unless it is there.
func (u *update) slot() error {
	differs, err := u.w.differs(u.dev, true, u.w.inSlot)
	if err != nil || differs == "" {
		return err
	}
	if err := u.fs.Clear(u.w.slot.Dir()); err != nil {
		return err
	}
	manifest := u.w.slot.File(bootloader.ManifestFile)
	err = u.bring(func(path string) bool { return u.w.inSlot(path) && !strings.EqualFold(path, manifest) })
	if err != nil {
		return err
	}
	return u.put(manifest)
}

// disable takes the loader away.
func (u *update) disable() error { return disable(u.fs) }

func disable(f *bootfs.FS) error {
	var paths []string
	err := walk(f, bootloader.LoaderDir, 0, func(path string) error {
		paths = append(paths, path)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.Clear(bootloader.LoaderDir)
	}
	for _, path := range paths {
		if err := f.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// disable takes the loader of the mirror away. What is no file system starts nothing already.
func (x *mirror) disable() error {
	f, err := x.volume()
	if err != nil {
		return nil
	}
	return disable(f)
}

// rest brings what is neither the slot nor the loader, and removes what the first one does not have.
func (u *update) rest() error {
	var more []string
	err := walk(u.fs, "", 0, func(path string) error {
		if _, known := u.w.files[strings.ToLower(path)]; !known && u.w.inRest(path) && !u.w.foreign(path) {
			more = append(more, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range more {
		if err := u.fs.Remove(path); err != nil {
			return err
		}
	}
	return u.bring(u.w.inRest)
}

// tidy empties the other slot, whose version the firmware's variables could still name, and reads back what is there by
// now.
func (u *update) tidy() error {
	if err := u.fs.Clear(u.w.slot.Other().Dir()); err != nil {
		return err
	}
	err := u.readBack(func(path string) bool { return !inLoaderDir(path) })
	if err != nil {
		return err
	}
	st, err := u.state()
	if err == nil && (st.Default != u.w.slot || st.Armed != bootloader.None) {
		err = fmt.Errorf("its loader would start slot %v by itself, and %v on trial", st.Default, st.Armed)
	}
	return err
}

// enable brings the loader and reads it back.
func (u *update) enable() error {
	if err := u.bring(inLoaderDir); err != nil {
		return err
	}
	if err := u.readBack(inLoaderDir); err != nil {
		return errors.Join(err, u.disable())
	}
	return nil
}

// readBack holds a part of the mirror, as the device has it, against what it is to be.
func (u *update) readBack(part func(path string) bool) error {
	if err := u.fs.Sync(); err != nil {
		return err
	}
	if err := device.DropCache(u.dev); err != nil {
		return err
	}
	differs, err := u.w.differs(u.dev, true, part)
	if err == nil && differs != "" {
		err = fmt.Errorf("read back: %s", differs)
	}
	return err
}

// bring writes the files of a part that are not what they are to be.
func (u *update) bring(part func(path string) bool) error {
	for _, path := range u.w.paths(part) {
		differs, err := u.w.fileDiffers(u.fs, path, true)
		if err != nil {
			return err
		}
		if differs == "" {
			continue
		}
		if err := u.put(path); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

// put writes one file.
func (u *update) put(path string) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	if at := strings.LastIndexByte(path, '/'); at > 0 {
		if err := u.fs.Mkdir(path[:at]); err != nil {
			return err
		}
	}
	from, size, err := u.w.open(path)
	if err != nil {
		return err
	}
	to, err := u.fs.Replace(path, size)
	if err != nil {
		return err
	}
	defer to.Abort()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.Close()
}

func volumeID(at bootloader.Disk) uint32 {
	g := at.Boot.GUID
	return uint32(g[0])<<24 | uint32(g[1])<<16 | uint32(g[2])<<8 | uint32(g[3])
}
