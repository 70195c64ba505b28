package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// ErrRequest is returned for a request that lacks something, or has too much. Do: read the message.
var ErrRequest = errors.New("the request is not as it has to be")

// ErrStarting is returned before Start has recorded this boot: what the disk says until then is of the boot
// before. Do: ask again.
var ErrStarting = errors.New("the node is starting; ask again")

// maxVersion bounds the version of a client, in bytes.
const maxVersion = 128

// checkReference refuses what no reference of an image is, before it is looked for, told or recorded.
func checkReference(what, reference string) error {
	switch {
	case reference == "":
		return fmt.Errorf("%s: which image? (a reference such as registry.example.com/os:1.2): %w", what, ErrRequest)
	case len(reference) > MaxReference:
		return fmt.Errorf("%s: the reference has %d bytes, at most %d are taken: %w", what, len(reference),
			MaxReference, ErrRequest)
	case strings.ContainsFunc(reference, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s: the reference %.200q has characters that cannot be printed: %w", what, reference,
			ErrRequest)
	}
	return nil
}

// kinds are the words by which programs tell errors apart, first match first.
var kinds = []struct {
	err  error
	kind string
}{
	{ErrBusy, "busy"},
	{ErrStarting, "starting"},
	{ErrConfig, "config"},
	{ErrRequest, "request"},
	{ErrNothingToCancel, "nothing-to-cancel"},
	{ErrTooLate, "too-late"},
	{ErrRefused, "refused"},
	{ErrNoLock, "no-lock"},
	{ErrLockStands, "lock-stands"},
	{ErrLockMoved, "lock-moved"},
	{context.Canceled, "cancelled"},

	{upgrade.ErrTrial, "trial"},
	{upgrade.ErrUnordered, "unordered"},
	{ErrNothingToConfirm, "nothing-to-confirm"},
	{upgrade.ErrArmed, "armed"},
	{upgrade.ErrSame, "same"},
	{upgrade.ErrKnownBad, "known-bad"},
	{upgrade.ErrNotComplete, "not-complete"},
	{upgrade.ErrDoesNotFit, "does-not-fit"},
	{bootloader.ErrVersion, "version"},
	{upgrade.ErrUnfit, "unfit"},
	{versions.ErrPolicy, "policy"},
	{upgrade.ErrNotStaged, "not-staged"},
	{upgrade.ErrUnproved, "unproved"},
	{upgrade.ErrCold, "cold"},
	{upgrade.ErrNothingToRollBack, "nothing-to-roll-back"},

	{upgrade.ErrRehearsal, "rehearsal"},

	{bootloader.ErrForeign, "foreign"},
	{bootloader.ErrNoVariables, "no-variables"},
	{bootloader.ErrAmbiguous, "ambiguous"},
	{bootloader.ErrNotFound, "no-loader"},

	{image.ErrReference, "image-reference"},
	{image.ErrUnsigned, "image-unsigned"},
	{image.ErrWrongKey, "image-wrong-key"},
	{image.ErrWrongSubject, "image-wrong-subject"},
	{image.ErrPolicy, "image-policy"},
	{image.ErrNotFound, "image-not-found"},
	{image.ErrUnreachable, "image-unreachable"},
	{image.ErrDenied, "image-denied"},
	{image.ErrPlatform, "image-platform"},
	{image.ErrTampered, "image-tampered"},
	{image.ErrNoAssets, "image-no-assets"},
	{image.ErrUnreadable, "image-unreadable"},
	{image.ErrUnsafe, "image-unsafe"},

	{meta.ErrTag, "request"},
	{meta.ErrOurs, "request"},
	{meta.ErrNoTag, "no-value"},
	{meta.ErrFull, "meta-full"},
	{meta.ErrDamaged, "meta-damaged"},

	{partition.ErrBusy, "disk-busy"},
	{partition.ErrNoTable, "disk-foreign"},
	{partition.ErrForeign, "disk-foreign"},
	{partition.ErrNotFound, "disk-foreign"},
	{partition.ErrDamaged, "disk-damaged"},

	{context.DeadlineExceeded, "timeout"}, // last: it may be the cause of any of these
}

// ErrorKind is the word by which programs tell err apart; "unknown" if it is none of:
//
//	busy              another operation runs
//	starting          the boot is not recorded yet
//	config            the node's configuration is wrong
//	request           the request lacks something, or is too large
//	nothing-to-cancel nothing runs that can be cancelled
//	too-late          the operation came past its commit point before it could be cancelled
//	refused           a hook of the phase allow refuses the order
//	no-lock           the node shares no lock whose slots can be listed
//	lock-stands       what speaks for freeing a slot of the lock is not enough
//	lock-moved        a slot of the lock is not as it was listed
//	cancelled         the caller ended it, or the service was stopped
//	timeout           it took longer than it may
//	trial             the running version is on trial
//	unordered         no attempt ordered this boot, so a person has to confirm it or to go back
//	nothing-to-confirm  the running slot is the default
//	armed             the default runs and the other slot is armed
//	same              the running slot already holds the image
//	known-bad         the image failed its trial before
//	not-complete      a slot that is to boot holds no complete system
//	does-not-fit      the boot file system is too small
//	version           what the image or the system in it states is no version
//	unfit             the image cannot be booted
//	policy            the version policy does not allow the move
//	not-staged        there is no staged upgrade
//	unproved          the version in the other slot never proved itself
//	cold              it was started by kexec, and it is not known that the firmware starts it
//	nothing-to-roll-back  the other slot holds nothing
//	rehearsal         the next boots, played on a copy, do not end as they must
//	foreign           something that is not ours decides the next boot
//	no-variables      firmware variables cannot be kept
//	ambiguous         it is not clear which slot is running
//	no-loader         there is no loader that this version knows
//	image-reference   the text is no reference of an image
//	image-unsigned, image-wrong-key, image-wrong-subject, image-policy
//	                  the machine's signature policy does not accept the image, or cannot be read
//	image-not-found, image-unreachable, image-denied, image-platform, image-tampered, image-no-assets,
//	image-unreadable, image-unsafe
//	                  what is wrong with the image, or with the way to it
//	no-value          META has no value under this tag
//	meta-full         META has no room for the value
//	meta-damaged      both copies of META are damaged
//	disk-busy         the disk or a partition is mounted, or held by another program
//	disk-foreign      the disk is not one that was installed
//	disk-damaged      its partition table is damaged
func ErrorKind(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return "unknown"
}

// ErrorKinds are the errors that ErrorKind tells apart.
func ErrorKinds() map[string][]error {
	all := map[string][]error{}
	for _, k := range kinds {
		all[k.kind] = append(all[k.kind], k.err)
	}
	return all
}
