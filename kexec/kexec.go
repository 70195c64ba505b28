// Package kexec starts the next kernel from the running one, without the firmware.
//
// Start with [FromUKI] or a Kernel of your own, then [Kernel.Load], then Jump. Check says beforehand, without changing
// anything, whether this machine would refuse; [Kernel.Try] is a dry run, which asks the running kernel.
//
// Loading changes nothing that runs; a kernel that was loaded is forgotten at the next start of any kind, or by Unload.
// Every error says why, and none is worth failing an upgrade for: the way through the firmware is always there.
//
// The package does not decide when to use it: a start by kexec hides a machine that cannot cold-boot, takes no
// measurements and shows the new kernel the loader's variables of the boot before. It does not stop anything before the
// jump. It follows kexec_file_load(2).
package kexec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// Errors that callers act on; the way out of each is a restart through the firmware.
var (
	// ErrUnsupported is returned when the running kernel has no kexec_file_load.
	ErrUnsupported = errors.New("this kernel cannot kexec")
	// ErrForbidden is returned when the running kernel refuses: locked down (Secure Boot), switched off, or not asked
	// by root.
	ErrForbidden = errors.New("this kernel refuses kexec")
	// ErrBusy is returned when another program is loading a kernel.
	ErrBusy = errors.New("another program is loading a kernel")
	// ErrKernel is returned when the running kernel does not take the next one.
	ErrKernel = errors.New("this kernel does not take the next one")
)

// Kernel is what to start.
type Kernel struct {
	Linux   *io.SectionReader
	Initrd  *io.SectionReader // nil: none
	Cmdline string
}

// FromUKI takes the kernel, the initramfs and the command line out of a UKI, and puts more arguments in front (what
// follows a "--" is init's). The sections are read when the kernel is loaded.
func FromUKI(r io.ReaderAt, size int64, more ...string) (Kernel, error) {
	img, err := uki.Parse(r, size)
	if err != nil {
		return Kernel{}, err
	}
	linux, err := img.Section(uki.Linux)
	if err != nil {
		return Kernel{}, err
	}
	cmdline, err := img.Text(uki.Cmdline)
	if err != nil && !errors.Is(err, uki.ErrNoSection) {
		return Kernel{}, err
	}
	k := Kernel{Linux: linux.Data, Cmdline: strings.TrimSpace(strings.Join(append(slices.Clone(more), cmdline), " "))}
	initrd, err := img.Section(uki.Initrd)
	switch {
	case err == nil:
		k.Initrd = initrd.Data
	case !errors.Is(err, uki.ErrNoSection):
		return Kernel{}, err
	}
	return k, nil
}

// Load gives the kernel to the running one, in place of any that was loaded before. The caller may then Jump.
func (k Kernel) Load() error { return k.load(loadFiles) }

// Try is a dry run: the running kernel takes this one, or says why not, and forgets it again, with any that was loaded
// before.
func (k Kernel) Try() error { return k.try(loadFiles, Unload) }

func (k Kernel) try(give func(kernel, initrd *os.File, cmdline string) error, unload func() error) error {
	if err := k.load(give); err != nil {
		return err
	}
	return unload()
}

// maxCmdline is what every architecture takes, its zero included.
const maxCmdline = 2048

func (k Kernel) load(give func(kernel, initrd *os.File, cmdline string) error) error {
	switch {
	case len(k.Cmdline)+1 > maxCmdline:
		return fmt.Errorf("load kernel: a command line of %d bytes, at most %d: %w", len(k.Cmdline), maxCmdline-1,
			ErrKernel)
	case strings.ContainsAny(k.Cmdline, "\x00\n"):
		return fmt.Errorf("load kernel: the command line %q is more than one line: %w", k.Cmdline, ErrKernel)
	}
	linux, err := memory("kernel", k.Linux)
	if err != nil {
		return fmt.Errorf("load kernel: %w", err)
	}
	defer linux.Close()
	var initrd *os.File
	if k.Initrd != nil {
		if initrd, err = memory("initrd", k.Initrd); err != nil {
			return fmt.Errorf("load kernel: %w", err)
		}
		defer initrd.Close()
	}
	if err := give(linux, initrd, k.Cmdline); err != nil {
		return fmt.Errorf("load kernel: %w", explain(err))
	}
	return nil
}

// memory copies a section into a file that is only in memory, because the kernel wants files of their own.
func memory(name string, from *io.SectionReader) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	n, err := io.Copy(f, io.NewSectionReader(from, 0, from.Size()))
	if err == nil && n != from.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the %s: %w", name, err), f.Close())
	}
	return f, nil
}

func loadFiles(kernel, initrd *os.File, cmdline string) error {
	if initrd == nil {
		return unix.KexecFileLoad(int(kernel.Fd()), -1, cmdline, unix.KEXEC_FILE_NO_INITRAMFS)
	}
	return unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), cmdline, 0)
}

// Unload forgets the kernel that was loaded, if any.
func Unload() error {
	if err := unix.KexecFileLoad(-1, -1, "", unix.KEXEC_FILE_UNLOAD); err != nil {
		return fmt.Errorf("forget the loaded kernel: %w", explain(err))
	}
	return nil
}

// Jump starts the kernel that was loaded, at once and after everything written has been flushed; it does not return. An
// error means that none was loaded, or that the running kernel refuses.
func Jump() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC); err != nil {
		return fmt.Errorf("start the loaded kernel: %w", explain(err))
	}
	return nil
}

// explain says what an error number of the kernel means here.
func explain(err error) error {
	for _, e := range []struct {
		number error
		is     error
		text   string
	}{
		{unix.ENOSYS, ErrUnsupported, "it was built without CONFIG_KEXEC_FILE"},
		{unix.EPERM, ErrForbidden, "it is locked down (Secure Boot), kexec is switched off, or this is not root"},
		{unix.EACCES, ErrForbidden, "a security module says no"},
		{unix.EKEYREJECTED, ErrForbidden, "the next kernel's signature is not good"},
		{unix.ENOKEY, ErrForbidden, "the next kernel is signed with no key that it knows"},
		{unix.ENODATA, ErrForbidden, "it wants a signature and the next kernel has none"},
		{unix.EBUSY, ErrBusy, "try again, or restart through the firmware"},
		{unix.ENOMEM, ErrKernel, "there is no memory to hold it"},
		{unix.EADDRNOTAVAIL, ErrKernel, "there is no memory where it has to lie"},
		{unix.ENOEXEC, ErrKernel, "it is no kernel of a format that can be loaded (a compressed EFI program, such as " +
			"arm64's zboot, must be unpacked first)"},
		{unix.EINVAL, ErrKernel, "no kernel is loaded, or its arguments are not understood"},
	} {
		if errors.Is(err, e.number) {
			return fmt.Errorf("%w: %s: %w", e.is, e.text, err)
		}
	}
	return err
}
