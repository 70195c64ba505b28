package main

import (
	"errors"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/grubenv"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/chunks"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/ext4"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/patches"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disks"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/mirror"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// Exit codes. Scripts may rely on them.
const (
	exitOther = 1 // anything else: the message says what
	exitUsage = 2 // wrong arguments
	// the image cannot be used: not found, wrong platform, tampered with, nothing to boot in it, too large
	exitImage = 3
	// the machine's state forbids it: a trial runs, another operation runs, something foreign is in the way
	exitRefused = 4
	exitDisk    = 5 // the disk is not one to work on: no disk, somebody else's, damaged, too small
	// doctor found that one of the next boots does not end well, or that the machine cannot be worked on
	exitBroken = 6
)

// reasons are the errors that are told apart, the first that fits: each one's exit code, and the way out.
var reasons = []struct {
	err  error
	code int
	do   string
}{
	{image.ErrReference, exitUsage, "write it as `installer plan --help` has it at --image"},
	{upgrade.ErrDoesNotFit, exitImage, "use a smaller image, or a disk with a larger boot file system"},
	{bootloader.ErrVersion, exitImage, "give the system another VERSION_ID, and the image the same version or none"},
	{authenticode.ErrFormat, exitImage, "build the loader again, or use another image"},
	{bootloader.ErrMachine, exitImage, "use an image whose loader is for this machine (`installer pack --arch`)"},
	{upgrade.ErrUnfit, exitImage, "build the image again; --force writes it all the same"},
	{image.ErrTampered, exitImage, "push the image again, or ask who changed it"},
	{image.ErrNotFound, exitImage, "check the reference, its tag or its digest"},
	{image.ErrUnreachable, exitImage, "check the address and the network, then try again"},
	{image.ErrDenied, exitImage, "log in to the registry (docker login), or check the name"},
	{image.ErrPlatform, exitImage, "use an image that is made for this architecture, or name another one with --arch"},
	{image.ErrNoAssets, exitImage, "name an installer image; `installer pack` makes one"},
	{image.ErrUnsigned, exitImage, "sign it (`installer pack --sign-key`, `cosign sign --key`), or use one that is " +
		"signed"},
	{image.ErrWrongSubject, exitImage, "never use it; sign it again if it is yours"},
	{image.ErrWrongKey, exitImage, "ask who signed it"},
	{image.ErrPolicy, exitImage, "mend the signature policy"},
	{image.ErrUnreadable, exitImage, "build the image again, packed with zstd or gzip or not at all"},
	{image.ErrUnsafe, exitImage, "build the image without what the message names"},

	{errBroken, exitBroken, "see what it says of each; the machine still runs what it ran"},

	{upgrade.ErrTrial, exitRefused, "wait for the trial to be confirmed; or reboot, which falls back"},
	{upgrade.ErrUnordered, exitRefused, "`installer confirm` keeps what runs; `installer rollback` and a restart go " +
		"back"},
	{upgrade.ErrArmed, exitRefused, "restart, which tries the other slot; or `installer rollback`, which takes it back"},
	{upgrade.ErrUnproved, exitRefused, "upgrade to another version; --force tries this one all the same"},
	{upgrade.ErrSame, exitRefused, "nothing; --force writes it into the other slot"},
	{upgrade.ErrKnownBad, exitRefused, "use another version; --force tries this one again"},
	{versions.ErrPolicy, exitRefused, "take the path that the message names; --force goes all the same"},
	{upgrade.ErrNotComplete, exitRefused, "upgrade, which writes the slot anew"},
	{upgrade.ErrNothingToRollBack, exitRefused, "upgrade to the version that is wanted"},
	{upgrade.ErrInUse, exitRefused, "name another disk; --force loses all that is on this one"},
	{upgrade.ErrCold, exitRefused, "restart, which falls back; `installer doctor` says what is in the way"},
	{upgrade.ErrRehearsal, exitRefused, "mend what the message names; `installer doctor` says what the next boots " +
		"start and why"},
	{bootloader.ErrNotOurs, exitRefused,
		"nothing; a shim has to stay. --force installs over what is there, and the machine may then start nothing"},
	{bootloader.ErrForbidden, exitRefused, "leave it; sign the loader with a key that this firmware knows, or have " +
		"the firmware know its key, and build the image again; --force does not help"},
	{bootloader.ErrRefused, exitRefused,
		"leave it, and build an image with a loader that this firmware starts; with --force the machine may then " +
			"start nothing"},
	{bootloader.ErrOlder, exitRefused, "nothing; --force installs the older one"},
	{bootloader.ErrRisk, exitRefused, "leave it; --force takes the risk that a power cut meanwhile leaves a machine " +
		"that does not start"},
	{bootloader.ErrForeign, exitRefused,
		"take away what the message names; `installer doctor` says what boots next, and why"},
	{grub.ErrNotCounted, exitRefused, "`installer confirm` writes the block anew; then reboot once, through GRUB"},
	{bootloader.ErrNoVariables, exitRefused,
		"mount efivarfs writable, and say where with --efivars; a trial cannot be armed without"},
	{bootloader.ErrAmbiguous, exitRefused,
		"see that --disk and --os-release are those of the running system; reboot, then try again"},
	{partition.ErrBusy, exitRefused, "end what holds it, and try again"},
	{disk.ErrBusy, exitRefused, "end what holds it, and try again"},

	{disk.ErrFormat, exitDisk, "convert it to what the message names, with qemu-img convert, or name another disk"},
	{disk.ErrTruncated, exitDisk, "copy the file again"},
	{disk.ErrReadOnly, exitDisk, "convert the file to raw (qemu-img convert -O raw), change that one, and convert it " +
		"back"},
	{disks.ErrNone, exitDisk, "say less of the disk, or attach one; `installer disk list` has those of this machine"},
	{disks.ErrSeveral, exitDisk, "say more of the disk that is meant, or name it with --disk"},
	{partition.ErrNoTable, exitDisk, "name the disk that the machine boots from; `installer install` makes one"},
	{partition.ErrForeign, exitDisk, "name another disk; nothing was changed"},
	{partition.ErrDamaged, exitDisk, "restore the table, or lose what is on the disk with `installer install --force`"},
	{partition.ErrSeveral, exitDisk, "give all but the one that is meant another label, as the message says"},
	{partition.ErrNotFound, exitDisk, "name the disk that the machine boots from; `installer install` makes one"},
	{ext4.ErrNoSpace, exitUsage, "give the partition a larger size, or fewer files"},
	{partition.ErrNoSpace, exitDisk, "use a larger disk; of a disk image, give a larger --size"},
	{bootloader.ErrNotFound, exitDisk, "name the disk that the machine boots from; `installer install` makes one"},
	{bootfs.ErrDamaged, exitDisk, "repair the boot file system (fsck.vfat), or install again"},
	{meta.ErrDamaged, exitDisk, "`installer meta reset` makes it empty; the slots are not touched"},
	{meta.ErrSize, exitDisk, "name the disk that the machine boots from; `installer install` makes one"},

	// What is told apart below, and comes up here only where nothing above says it better.
	{pack.ErrPassword, exitUsage, "put the key's password into COSIGN_PASSWORD"},
	{pack.ErrNoTag, exitUsage, "name a tag that `installer pack` has put into the layout"},
	{bootloader.ErrMirror, exitRefused, "attach the first disk again; or install onto another one, and give that a " +
		"second boot file system"},
	{upgrade.ErrDiskUnknown, exitUsage, "name the disk with --disk"},
	{upgrade.ErrNotStaged, exitRefused, "nothing: there is no staged upgrade to give up"},
	{efivar.ErrNotKept, exitRefused, "mount efivarfs writable, and say where with --efivars"},
	{efivar.ErrFormat, exitRefused, "delete the variable that the message names, and try again"},
	{kexec.ErrUnsupported, exitRefused, "restart through the firmware"},
	{kexec.ErrForbidden, exitRefused, "restart through the firmware"},
	{kexec.ErrKernel, exitRefused, "restart through the firmware"},
	{kexec.ErrBusy, exitRefused, "wait for the other program, and try again"},
	{predict.ErrNotModelled, exitRefused,
		"take away what the message names, or put it as Pawl lays disks out; `installer doctor` says what boots next"},
	{bootfs.ErrFull, exitDisk, "remove files of others from the boot file system, or use a disk with a larger one"},
	{bootfs.ErrShared, exitDisk, "move the file that shares the block: copy it, remove it, and copy it back; or " +
		"install again"},
	{bootfs.ErrTooLarge, exitImage, "build the image with smaller files"},
	{bootloader.ErrManifest, exitDisk, "upgrade, which writes the slot anew"},
	{grubenv.ErrFormat, exitDisk, "`installer confirm` writes the block anew"},
	{grubenv.ErrFull, exitDisk, "`installer confirm` writes the block anew"},
	{uki.ErrFormat, exitImage, "build the image again, with a stub, a kernel and a loader that are whole"},
	{uki.ErrNoSection, exitImage, "build the image again, with `installer pack` or ukify"},
	{uki.ErrBeyond, exitImage, "build the image again, with `installer pack` or ukify"},
	{authenticode.ErrKey, exitUsage, "use an RSA key of 2048 bits or more, and its certificate"},
	{authenticode.ErrUnknown, exitImage, "sign it with an RSA key (`installer pack --sign-efi`)"},
	{secureboot.ErrRefused, exitImage, "sign it with a key that this firmware knows (`installer pack --sign-efi`), or " +
		"enrol that key"},
	{secureboot.ErrUnknown, exitRefused, "leave what starts now; `installer doctor` says what is not known"},
	{secureboot.ErrFormat, exitRefused, "write the list that the message names anew, in the firmware's setup"},
	{chunks.ErrTable, exitImage, "build the image again, with `installer pack`"},
	{pack.ErrPacking, exitUsage, "unpack it before, as the message says"},
	{patches.ErrTable, exitImage, "build the image again, with `installer pack`"},
	{verity.ErrFormat, exitImage, "build the image again, with `installer pack --root FILE --verity`"},
	{verity.ErrCorrupt, exitImage, "build the image again, or ask who changed it"},
	{attempt.ErrRecord, exitDisk, "`installer meta reset` makes it empty; the slots are not touched"},
	{meta.ErrFull, exitDisk, "`installer meta reset` makes it empty; the slots are not touched"},
	{meta.ErrNoTag, exitDisk, "`installer meta reset` makes it empty; the slots are not touched"},
	{mirror.ErrNone, exitRefused, "nothing; `installer mirror --on DISK` makes one"},
	{mirror.ErrGone, exitRefused, "attach its disk again, or make another one with `installer mirror --on DISK`"},
	{mirror.ErrUnfit, exitRefused, "leave it without one, or change what the message names"},
	{mirror.ErrStarted, exitRefused, "start the machine from its first boot file system; where that is damaged, " +
		"install again"},
	{meta.ErrOurs, exitUsage, "use another tag: 0x50 to 0x55 are Pawl's own"},
	{meta.ErrTag, exitDisk, "`installer meta reset` makes it empty; the slots are not touched"},
}

// complain prints why a command failed and the way out, and returns the exit code.
func complain(w *terminal.Printer, err error) int {
	w.Error("installer", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	for _, r := range reasons {
		if !errors.Is(err, r.err) {
			continue
		}
		w.Printf("do: %s\n", r.do)
		return r.code
	}
	return exitOther
}
