package oskit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/guest"
)

// Guest writes an initramfs into dir and returns its path: the program of a Go package as PID 1, which begins with
// guest.Begin, and the modules of the kernel that it needs, from the directory of all of them.
func Guest(ctx context.Context, dir, program, from string, modules ...string) (string, error) {
	path, err := writeGuest(ctx, dir, program, from, modules)
	if err != nil {
		return "", fmt.Errorf("make an initramfs of %s: %w", program, err)
	}
	return path, nil
}

func writeGuest(ctx context.Context, dir, program, from string, modules []string) (string, error) {
	init := filepath.Join(dir, "init")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", init, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	binary, err := os.ReadFile(init)
	if err != nil {
		return "", err
	}
	needed, err := osimage.Modules(from, modules...)
	if err != nil {
		return "", err
	}
	var archive bytes.Buffer
	a := osimage.NewArchive(&archive)
	a.Dir("dev")
	a.CharDevice("dev/console", 0o600, 5, 1)
	a.File("init", 0o755, binary)
	order := ""
	for _, m := range needed {
		content, err := os.ReadFile(m.Path)
		if err != nil {
			return "", err
		}
		a.File(guest.Modules+"/"+m.Name+".ko", 0o644, content)
		order += m.Name + ".ko\n"
	}
	a.File(guest.Order, 0o644, []byte(order))
	if err := a.Close(); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "initramfs")
	return path, os.WriteFile(path, archive.Bytes(), 0o600)
}
