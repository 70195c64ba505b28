package efivar

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"unsafe"
)

// Dir is where Linux mounts the firmware's variables.
const Dir = "/sys/firmware/efi/efivars"

// efivarfsMagic is the type that statfs reports for efivarfs.
const efivarfsMagic = 0xde5e81e4

// readOnly is the flag that statfs reports for a read-only mount.
const readOnly = 1

// Open returns the variables of the machine, kept in an efivarfs mounted at dir (usually Dir). Nothing is read yet.
// Where there is no efivarfs, reads say [fs.ErrNotExist], List is empty, and writes say [ErrNotKept].
func Open(dir string) Store { return &directory{dir: dir, mounted: isEfivarfs} }

// directory keeps each variable in a file named for it: four bytes of attributes, then the data. The kernel hands one
// write call to the firmware as one SetVariable.
type directory struct {
	dir     string
	mounted func(dir string) bool
}

func isEfivarfs(dir string) bool {
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && uint32(st.Type) == efivarfsMagic
}

// Writable says [ErrNotKept] where nothing can be written: no efivarfs, or one that is mounted read-only. It writes
// nothing, so it cannot know of a firmware that refuses.
func (d *directory) Writable() error {
	if !d.mounted(d.dir) {
		return fmt.Errorf("no efivarfs at %s: %w", d.dir, ErrNotKept)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		return err
	}
	if st.Flags&readOnly != 0 {
		return fmt.Errorf("efivarfs at %s is mounted read-only: %w", d.dir, ErrNotKept)
	}
	return nil
}

func (d *directory) path(name Name) string { return filepath.Join(d.dir, name.String()) }

// Read implements Store.
func (d *directory) Read(name Name) (Variable, error) {
	if !d.mounted(d.dir) {
		return Variable{}, fmt.Errorf("read variable %s: no efivarfs at %s: %w", name.Name, d.dir, fs.ErrNotExist)
	}
	b, err := os.ReadFile(d.path(name))
	if err == nil && len(b) == 0 {
		// A file that was created and never written: the firmware knows of no such variable.
		err = fs.ErrNotExist
	}
	if err != nil {
		return Variable{}, fmt.Errorf("read variable %s: %w", name.Name, err)
	}
	v, err := ParseVariable(b)
	if err != nil {
		return Variable{}, fmt.Errorf("read variable %s: %w", name.Name, err)
	}
	return v, nil
}

// Write implements Store. The kernel marks most variables immutable; the mark is taken off for the write and put back.
func (d *directory) Write(name Name, v Variable) error {
	if err := d.write(name, v); err != nil {
		return fmt.Errorf("write variable %s: %w", name.Name, err)
	}
	return nil
}

func (d *directory) write(name Name, v Variable) error {
	if len(v.Data) == 0 {
		return fmt.Errorf("no data, which would delete it: %w", fs.ErrInvalid)
	}
	old, err := d.Read(name)
	if err == nil && old.Equal(v) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !d.mounted(d.dir) {
		return fmt.Errorf("no efivarfs at %s: %w", d.dir, ErrNotKept)
	}
	created := err != nil
	restore, err := thaw(d.path(name))
	if err != nil {
		return notKept(err)
	}
	f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return notKept(errors.Join(err, restore()))
	}
	b := v.Bytes()
	n, err := syscall.Write(int(f.Fd()), b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d of %d bytes were taken", n, len(b))
	}
	err = errors.Join(err, f.Close())
	if err != nil && created {
		// What is left is an empty file without a variable behind it; whether it goes away is no matter.
		_ = os.Remove(d.path(name))
	}
	return notKept(errors.Join(err, restore()))
}

// Delete implements Store.
func (d *directory) Delete(name Name) error {
	if _, err := d.Read(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	restore, err := thaw(d.path(name))
	if err == nil {
		if err = os.Remove(d.path(name)); err != nil {
			err = errors.Join(err, restore())
		}
	}
	if err != nil {
		return fmt.Errorf("delete variable %s: %w", name.Name, notKept(err))
	}
	return nil
}

// List implements Store. Files that are no variables are left out, as the kernel's own list does.
func (d *directory) List() ([]Name, error) {
	if !d.mounted(d.dir) {
		return nil, nil
	}
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list variables: %w", err)
	}
	var names []Name
	for _, f := range files {
		if name, err := ParseName(f.Name()); err == nil {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareNames)
	return names, nil
}

// notKept adds ErrNotKept to the errors by which a system says that it keeps no variables.
func notKept(err error) error {
	for _, cause := range []error{syscall.EROFS, syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.ENOSYS,
		syscall.EOPNOTSUPP} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", err, ErrNotKept)
		}
	}
	return err
}

// FS_IOC_GETFLAGS and FS_IOC_SETFLAGS take the size of a long in their numbers and an int as their value.
const (
	getFlags      = 0x80006601 | unsafe.Sizeof(uintptr(0))<<16
	setFlags      = 0x40006602 | unsafe.Sizeof(uintptr(0))<<16
	immutableFlag = 0x10
)

// thaw takes the immutable flag off a file and returns what puts it back. A file that is not there, or on a file system
// without flags, needs neither.
func thaw(path string) (restore func() error, err error) {
	nothing := func() error { return nil }
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	if err != nil {
		return nothing, err
	}
	defer f.Close()
	flags, err := inodeFlags(f, getFlags, 0)
	if errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EOPNOTSUPP) || err == nil && flags&immutableFlag == 0 {
		return nothing, nil
	}
	if err != nil {
		return nothing, err
	}
	if _, err := inodeFlags(f, setFlags, flags&^immutableFlag); err != nil {
		return nothing, err
	}
	return func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = inodeFlags(f, setFlags, flags)
		return err
	}, nil
}

func inodeFlags(f *os.File, request uintptr, flags int32) (int32, error) {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&flags)))
	if errno != 0 {
		return 0, &fs.PathError{Op: "inode flags", Path: f.Name(), Err: errno}
	}
	return flags, nil
}
