package osimage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/image/pack/grubcore"
)

// Parts are the files of other projects that the example OS is put together from. Init and Files are for systems that
// are built on it.
type Parts struct {
	Arch    string // of the machines, a GOARCH; empty: amd64
	Kernel  string // a bzImage, or on arm64 an Image
	Modules string // directory of its modules
	Stub    string // systemd's stub, the start of a UKI
	Loader  string // systemd-boot
	GRUB    string // directory of GRUB's modules, one directory a platform

	Drivers []string // further modules that PID 1 loads, of those that there are

	Init  string            // a compiled program in place of the example's PID 1 and its installer; empty: those
	Files map[string]string // further programs: their path in the initramfs, and where they are
}

// FindParts finds what hack/deps.sh put in place for amd64: the kernel in $PAWL_CACHE, or else the user's cache
// directory, and the stub and the loaders where Debian's packages have them. The kernel is Debian's for clouds.
func FindParts() (Parts, error) { return find("amd64", "kernel", "") }

// FindGenericParts is FindParts with Debian's kernel for all machines: it has drivers for watchdogs.
func FindGenericParts() (Parts, error) { return find("amd64", "kernel-generic", "") }

// FindPartsFor is FindParts for an architecture, amd64 or arm64. What is not for amd64 is all in the cache.
func FindPartsFor(machine string) (Parts, error) {
	if machine == arch.Usual().Name {
		return FindParts()
	}
	return find(machine, machine+"/kernel", machine)
}

// find finds the parts: the kernel below the cache, and stub and loaders below a directory of it, or installed.
func find(machine, kernel, loaders string) (Parts, error) {
	a, err := arch.Named(machine)
	if err != nil {
		return Parts{}, fmt.Errorf("find the boot parts: %w", err)
	}
	cache := os.Getenv("PAWL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Parts{}, fmt.Errorf("find the boot parts: %w", err)
		}
		cache = filepath.Join(user, "pawl")
	}
	efi, grub := "/usr/lib/systemd/boot/efi", grubcore.Dir
	if loaders != "" {
		efi, grub = filepath.Join(cache, loaders, "efi"), filepath.Join(cache, loaders, "grub")
	}
	p := Parts{
		Arch:    machine,
		Kernel:  filepath.Join(cache, kernel, "vmlinuz"),
		Modules: filepath.Join(cache, kernel, "modules"),
		Stub:    filepath.Join(efi, a.SystemdStub()),
		Loader:  filepath.Join(efi, a.SystemdBoot()),
		GRUB:    grub,
	}
	for _, path := range []string{p.Kernel, p.Modules, p.Stub, p.Loader, filepath.Join(p.GRUB, a.GRUB)} {
		if _, err := os.Stat(path); err != nil {
			return Parts{}, fmt.Errorf("find the boot parts: %w (run hack/deps.sh)", err)
		}
	}
	return p, nil
}
