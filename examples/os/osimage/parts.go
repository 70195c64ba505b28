package osimage

import (
	"errors"
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
func find(machine, kernel, below string) (Parts, error) {
	p, err := findLoaders(machine, below)
	if err == nil {
		var cache string
		cache, err = cacheDir()
		p.Kernel, p.Modules = filepath.Join(cache, kernel, "vmlinuz"), filepath.Join(cache, kernel, "modules")
		err = errors.Join(err, there(p.Kernel, p.Modules))
	}
	if err != nil {
		return Parts{}, fmt.Errorf("find the boot parts: %w", err)
	}
	return p, nil
}

// FindLoaders finds the loaders and the stub alone, for amd64. Where $PAWL_LOADERS names a suite of Debian, they are
// the suite's, which hack/loaders.sh unpacks into the cache; else those that are installed.
func FindLoaders() (Parts, error) { return findLoaders("amd64", "") }

func findLoaders(machine, below string) (p Parts, err error) {
	a, err := arch.Named(machine)
	if err != nil {
		return Parts{}, err
	}
	if suite := os.Getenv("PAWL_LOADERS"); suite != "" && below == "" {
		below = filepath.Join("loaders", suite)
	}
	efi := "/usr/lib/systemd/boot/efi"
	p.Arch, p.GRUB = machine, grubcore.Dir
	if below != "" {
		cache, err := cacheDir()
		if err != nil {
			return Parts{}, err
		}
		efi, p.GRUB = filepath.Join(cache, below, "efi"), filepath.Join(cache, below, "grub")
	}
	p.Stub, p.Loader = filepath.Join(efi, a.SystemdStub()), filepath.Join(efi, a.SystemdBoot())
	return p, there(p.Stub, p.Loader, filepath.Join(p.GRUB, a.GRUB))
}

func cacheDir() (string, error) {
	if cache := os.Getenv("PAWL_CACHE"); cache != "" {
		return cache, nil
	}
	user, err := os.UserCacheDir()
	return filepath.Join(user, "pawl"), err
}

func there(paths ...string) error {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w (run hack/deps.sh; or hack/loaders.sh, where PAWL_LOADERS is set)", err)
		}
	}
	return nil
}
