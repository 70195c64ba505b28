package predict

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// kernel is a loaded kernel.
type kernel struct {
	path, cmdline string
	file          *taken
	header        []byte // its first bytes
	initrd        *taken // nil where none was loaded
	initrdPath    string
}

// bzImage reports whether GRUB starts kernels of this machine by itself; otherwise firmware loads them for it.
func (g *grub) bzImage() bool { return g.b.machine().Kernel.Format == arch.BzImage }

// known reports whether GRUB takes a file that begins so for a kernel.
func (g *grub) known(header []byte) bool {
	if !g.bzImage() {
		return len(header) >= 2 && string(header[:2]) == "MZ"
	}
	return len(header) == kernelHeader && binary.LittleEndian.Uint16(header[0x1fe:]) == 0xaa55 &&
		string(header[0x202:0x206]) == "HdrS"
}

// kernelHeader is how much of a kernel GRUB looks at.
const kernelHeader = 0x264

// loadLinux checks what GRUB checks: how a kernel begins, and not its length.
func (g *grub) loadLinux(args []string) error {
	if g.linux++; g.linux > 1 {
		// Seen: the kernel then starts without its arguments.
		return fmt.Errorf("linux for the second time in one boot: %w", ErrNotModelled)
	}
	t, err := g.take(args[0])
	if err != nil {
		return err
	}
	header := make([]byte, kernelHeader)
	if n, err := t.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	} else if !g.b.good(g.path(args[0])) && !g.known(header[:n]) {
		return errors.New("invalid magic number")
	}
	if !g.b.good(g.path(args[0])) {
		if err := g.accepted(args[0], t); err != nil {
			return err
		}
	}
	g.kernel = &kernel{path: args[0], file: t, header: header, cmdline: "BOOT_IMAGE=" + args[0]}
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)
	for _, a := range args[1:] {
		quoted := escape.Replace(a)
		if strings.Contains(a, " ") {
			quoted = `"` + quoted + `"`
		}
		g.kernel.cmdline += " " + quoted
	}
	if g.bzImage() && len(g.kernel.cmdline) > 2047 {
		g.kernel.cmdline = g.kernel.cmdline[:2047]
	}
	return nil
}

// accepted asks the shim, as GRUB does. What GRUB makes of Secure Boot without one depends on how it was built.
func (g *grub) accepted(path string, t *taken) error {
	b := g.b
	if !b.trusts.Checks() {
		return nil
	}
	if b.shim == nil {
		b.unsure("%s: %v, and GRUB was not started through a shim, which it asks", fileName(path), b.trusts)
		return nil
	}
	f, err := g.v.open(g.path(path))
	if err != nil {
		return err
	}
	sections, err := loadImage(t, t.size, b.machine().Machine)
	if err != nil {
		return fmt.Errorf("%w: it is no program: %w", secureboot.ErrRefused, err)
	}
	return b.accepted(g.v, g.path(path), f, t, sections)
}

func (g *grub) loadInitrd(name string) error {
	if g.kernel == nil {
		return errors.New("you need to load the kernel first")
	}
	t, err := g.take(name)
	if err != nil {
		return err
	}
	g.kernel.initrd, g.kernel.initrdPath = t, name
	return nil
}
