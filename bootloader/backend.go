package bootloader

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/device"
)

// Backend is a kind of loader: how it is found on a disk, opened and installed, and what it takes of an installer
// image. Package upgrade knows loaders by this interface alone, and is given a list of them; those that Pawl brings are
// in package loaders. A Backend keeps no state of a machine, and may be used by several goroutines.
//
// What not every loader can do are interfaces of their own. A Backend may also be a [KernelChecker], a [SelfWriter] and,
// so that an upgrade can be rehearsed, a predict.Model. The [Bootloader] that it opens may also be a [WayChooser], an
// [ArgumentChecker], a [Replacer] and a [Repairer].
type Backend interface {
	// Name is what people and flags call the loader, such as "systemd-boot". No two of one list have the same.
	Name() string

	// Probe reports whether a boot file system is one that Install has made, or has begun to make. It need not be
	// whole.
	Probe(boot *bootfs.FS) (bool, error)

	// Open returns the loader of a disk. It writes nothing.
	Open(c Config) (Bootloader, error)

	// Takes says which files of an installer image the loader wants.
	Takes() Takes

	// Ways are the ways of trying a slot that the loader knows, the usual one first. Nil: there is one, and nothing to
	// choose. Where there are more, what Open returns is a [WayChooser].
	Ways() []Way

	// MaxTries is the highest number of boots that a trial may have, at least 1.
	MaxTries() int

	// Fits says why the loader cannot start that disk; nil when it can. The partitions may be planned only: nothing of
	// them is read, and nothing is written.
	Fits(d Disk) error

	// Install puts the loader on a disk whose boot file system has the slots' directories and nothing else, or where an
	// earlier run was cut. files are those of Takes.Install, by their names. Afterwards nothing is bootable yet:
	// Prepare and Confirm do that.
	Install(d Disk, boot *bootfs.FS, files map[string][]byte) error
}

// Disk is a disk with the partitions that loaders need to know.
type Disk struct {
	device.Device                  // the whole disk
	Boot          efivar.HardDrive // the partition with the boot file system
	BIOS          efivar.HardDrive // the BIOS boot partition; the zero value where there is none
}

// Config is what a loader is opened on. Disk and FS are required.
type Config struct {
	Disk Disk
	FS   *bootfs.FS // the file system of Disk.Boot; the caller holds it exclusively, or only reads
	// the firmware's variables; nil where there are none, as while a disk image is made
	Vars    efivar.Store
	Cmdline string                      // of the kernel that runs; "" where nothing of this disk runs
	Idle    bool                        // nothing of this disk runs, whatever the variables say of this boot
	Gone    func(efivar.HardDrive) bool // whether no disk of the machine has a partition; nil: not known
}

// Takes says which files of an installer image a loader wants.
type Takes struct {
	// Slot names the files that a slot may hold for the loader to start, apart from its manifest. Where UKIFile and
	// KernelFile are both named a slot has the one or the other, with what belongs to it. CmdlineFile may be missing.
	Slot []string
	// Own is the file of an image that is the loader itself, and OwnFile the file of a slot that it becomes, LoaderFile
	// or CoreFile: see [Replacer]. Both are empty where a slot never holds the loader.
	Own, OwnFile string
	// Shim is the file of an image that is a shim, which becomes [ShimFile]; an image may have none. Empty where firmware
	// starts no shim.
	Shim string
	// Install names the files of an image that Install needs.
	Install []string
}

// Way is a way of trying a slot.
type Way struct {
	Name string // such as "one-shot"
	UKI  bool   // only slots with a UKI can be tried so
}

// MaxLoader is more than any file of a loader has, in bytes.
const MaxLoader = 8 << 20

// KernelChecker is a Backend that can judge a kernel which is not part of a UKI.
type KernelChecker interface {
	Backend

	// CheckKernel says why the loader could not start a kernel of size bytes on machines of that architecture (a
	// GOARCH), as far as the kernel shows it; nil when nothing speaks against it.
	CheckKernel(kernel io.ReaderAt, size int64, arch string) error
}

// SelfWriter is a Backend whose loader writes files by itself when it boots.
type SelfWriter interface {
	Backend

	// Writes are the paths of those files. What is in them tells of the boots of the disk that they are on.
	Writes() []string
}

// WayChooser is a Bootloader that knows several ways of trying a slot.
type WayChooser interface {
	Bootloader

	// TryBy chooses one of Backend.Ways, by its name, for what is prepared and armed from now on; "" is the usual one.
	TryBy(way string) error
}

// ArgumentChecker is a Bootloader that keeps the arguments of a slot's kernel where there is little room, or where not
// every character can stand. It is asked about slots without a UKI.
type ArgumentChecker interface {
	Bootloader

	// ArgumentsRoom is how many bytes of kernel arguments a slot of that version may have at most.
	ArgumentsRoom(version string) int

	// CheckArguments says why a slot of that version cannot have these kernel arguments; nil when it can.
	CheckArguments(version, cmdline string) error
}

// Repairer is a Bootloader that can remove what others left in its way and what is certainly harmless to remove.
type Repairer interface {
	Bootloader

	// Repair does so. What boots by itself stays. It refuses while a slot is armed.
	Repair() error
}

// Find returns the backend of that name.
func Find(backends []Backend, name string) (Backend, error) {
	at := slices.IndexFunc(backends, func(b Backend) bool { return b.Name() == name })
	if at < 0 {
		return nil, fmt.Errorf("loader %q: want one of %s", name, Names(backends))
	}
	return backends[at], nil
}

// Names are the names of backends, for people.
func Names(backends []Backend) string {
	var names []string
	for _, b := range backends {
		names = append(names, b.Name())
	}
	return strings.Join(names, ", ")
}

// CheckWay refuses what is the name of no way of trying a slot, with any of these backends. "" is the usual one of
// each.
func CheckWay(backends []Backend, way string) error {
	if way == "" {
		return nil
	}
	var known []string
	for _, b := range backends {
		for _, w := range b.Ways() {
			if w.Name == way {
				return nil
			}
			known = append(known, w.Name)
		}
	}
	return fmt.Errorf("trial %q: want one of %s", way, strings.Join(known, ", "))
}

// ProbeAll finds the backend whose loader is on a boot file system. That of none, and that of several, is ErrNotFound.
func ProbeAll(backends []Backend, boot *bootfs.FS) (Backend, error) {
	var found []Backend
	for _, b := range backends {
		ours, err := b.Probe(boot)
		if err != nil {
			return nil, fmt.Errorf("find the loader: %s: %w", b.Name(), err)
		}
		if ours {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("find the loader: files of none of %s are there, the boot file system has %s: %w",
			Names(backends), listing(boot), ErrNotFound)
	}
	return nil, fmt.Errorf("find the loader: files of %s are both there, and which of them decides is not known; "+
		"remove those of one: %w", Names(found), ErrNotFound)
}

// listing names what lies at the top of the boot file system.
func listing(boot *bootfs.FS) string {
	entries, err := boot.ReadDir("")
	if err != nil {
		return "a directory that cannot be read"
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
