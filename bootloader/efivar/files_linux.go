package efivar

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// OpenDir returns the variables in dir: Open where an efivarfs is mounted there, in a container perhaps elsewhere than
// at Dir, and else [OpenFiles]. A dir that is not there is an error.
func OpenDir(dir string) (Store, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open firmware variables: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open firmware variables: %s is no directory", dir)
	}
	if isEfivarfs(dir) {
		return Open(dir), nil
	}
	return OpenFiles(dir), nil
}

// OpenFiles returns variables that are kept in an ordinary directory, in files such as efivarfs shows: those of a
// machine that is a disk image, or a copy to look at. A power cut or a kill leaves a variable's old or new value.
func OpenFiles(dir string) Store {
	return &files{directory{dir: dir, mounted: func(string) bool { return true }}}
}

// files reads as directory does. It writes a new file and gives it the old one's name.
type files struct{ directory }

// Writable says [ErrNotKept] where this process may make no files.
func (f *files) Writable() error {
	const writeAndSearch = 2 | 1
	if err := syscall.Access(f.dir, writeAndSearch); err != nil {
		return notKept(&fs.PathError{Op: "write to", Path: f.dir, Err: err})
	}
	return nil
}

// Write implements Store. As in firmware, a variable's attributes cannot change while it exists.
func (f *files) Write(name Name, v Variable) error {
	if err := f.write(name, v); err != nil {
		return fmt.Errorf("write variable %s: %w", name.Name, err)
	}
	return nil
}

func (f *files) write(name Name, v Variable) error {
	if len(v.Data) == 0 {
		return fmt.Errorf("no data, which would delete it: %w", fs.ErrInvalid)
	}
	switch old, err := f.Read(name); {
	case err == nil && old.Equal(v):
		return nil
	case err == nil && old.Attributes != v.Attributes:
		return fmt.Errorf("attributes %#x, it has %#x: %w", v.Attributes, old.Attributes, fs.ErrInvalid)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	t, err := os.CreateTemp(f.dir, ".new-")
	if err != nil {
		return notKept(err)
	}
	_, err = t.Write(v.Bytes())
	if err == nil {
		err = t.Sync()
	}
	err = errors.Join(err, t.Close())
	if err == nil {
		err = os.Rename(t.Name(), f.path(name))
	}
	if err != nil {
		return notKept(errors.Join(err, os.Remove(t.Name())))
	}
	return f.sync()
}

// Delete implements Store.
func (f *files) Delete(name Name) error {
	err := os.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		return fmt.Errorf("delete variable %s: %w", name.Name, notKept(err))
	}
	return nil
}

// sync makes names durable.
func (f *files) sync() error {
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
