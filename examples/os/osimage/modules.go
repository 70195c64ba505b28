package osimage

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Module is a kernel module file.
type Module struct {
	Name string // without ".ko", with underscores
	Path string
}

// Modules finds the named modules and all that they need below dir, each before those that need it. What a module needs
// is read from the module itself (the "depends" of its .modinfo), so no depmod has to have run.
func Modules(dir string, names ...string) ([]Module, error) {
	found, err := all(dir)
	if err != nil {
		return nil, err
	}
	w := &walk{found: found, done: map[string]bool{}}
	for _, name := range names {
		if err := w.add(canonical(name)); err != nil {
			return nil, fmt.Errorf("find kernel modules below %s: %w", dir, err)
		}
	}
	return w.order, nil
}

// present is those of the names that are modules below dir.
func present(dir string, names ...string) (there []string, err error) {
	found, err := all(dir)
	for _, name := range names {
		if found[canonical(name)] != "" {
			there = append(there, name)
		}
	}
	return there, err
}

// all is every module below dir, by its name.
func all(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && err == nil {
			found[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find kernel modules: %w", err)
	}
	return found, nil
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// walk goes through the modules depth first.
type walk struct {
	found map[string]string
	done  map[string]bool
	order []Module
}

func (w *walk) add(name string) error {
	if w.done[name] {
		return nil
	}
	w.done[name] = true
	path, ok := w.found[name]
	if !ok {
		return fmt.Errorf("no module %s", name)
	}
	needs, err := depends(path)
	if err != nil {
		return err
	}
	for _, n := range needs {
		if err := w.add(canonical(n)); err != nil {
			return fmt.Errorf("%s needs: %w", name, err)
		}
	}
	w.order = append(w.order, Module{Name: name, Path: path})
	return nil
}

// depends reads the names in the "depends=" line of a module's .modinfo section: NUL-separated key=value pairs.
func depends(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("read %s: no section .modinfo", path)
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for pair := range strings.SplitSeq(string(info), "\x00") {
		if names, ok := strings.CutPrefix(pair, "depends="); ok && names != "" {
			return strings.Split(names, ","), nil
		}
	}
	return nil, nil
}
