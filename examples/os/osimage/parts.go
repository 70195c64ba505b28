package osimage

import (
	"fmt"
	"os"
	"path/filepath"
)

// Parts are the files of other projects that the example OS is put together from. Init and Files are for systems that
// are built on it.
type Parts struct {
	Kernel  string // a bzImage
	Modules string // directory of its modules
	Stub    string // systemd's stub, the start of a UKI
	Loader  string // systemd-boot

	Init  string            // a compiled program in place of the example's PID 1 and its installer; empty: those
	Files map[string]string // further programs: their path in the initramfs, and where they are
}

// FindParts finds what hack/deps.sh put in place: the kernel in $PAWL_CACHE, or else the user's cache directory, and
// the stub and the loader where Debian's package systemd-boot-efi has them. The kernel is Debian's for clouds.
func FindParts() (Parts, error) { return find("kernel") }

// FindGenericParts is FindParts with Debian's kernel for all machines: it has drivers for watchdogs.
func FindGenericParts() (Parts, error) { return find("kernel-generic") }

func find(kernel string) (Parts, error) {
	cache := os.Getenv("PAWL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Parts{}, fmt.Errorf("find the boot parts: %w", err)
		}
		cache = filepath.Join(user, "pawl")
	}
	p := Parts{
		Kernel:  filepath.Join(cache, kernel, "vmlinuz"),
		Modules: filepath.Join(cache, kernel, "modules"),
		Stub:    "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
		Loader:  "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
	}
	for _, path := range []string{p.Kernel, p.Modules, p.Stub, p.Loader} {
		if _, err := os.Stat(path); err != nil {
			return Parts{}, fmt.Errorf("find the boot parts: %w (run hack/deps.sh)", err)
		}
	}
	return p, nil
}
