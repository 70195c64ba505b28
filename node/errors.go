package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// ErrRequest is returned for a request that lacks something, or has too much. Do: read the message.
var ErrRequest = errors.New("the request is not as it has to be")

// ErrStarting is returned over the API before Start has recorded this boot: what the disk says until then is of the boot
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
		return fmt.Errorf("%s: the reference has %d bytes, at most %d are taken: %w", what, len(reference), MaxReference, ErrRequest)
	case strings.ContainsFunc(reference, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s: the reference %.200q has characters that cannot be printed: %w", what, reference, ErrRequest)
	}
	return nil
}

// kinds are the words by which programs tell errors apart over the wire, first match first.
var kinds = []struct {
	err  error
	kind string
	code connect.Code
}{
	{ErrBusy, "busy", connect.CodeAborted},
	{ErrStarting, "starting", connect.CodeUnavailable},
	{ErrConfig, "config", connect.CodeFailedPrecondition},
	{ErrRequest, "request", connect.CodeInvalidArgument},
	{ErrTooMany, "too-many", connect.CodeResourceExhausted},
	{ErrNothingToCancel, "nothing-to-cancel", connect.CodeFailedPrecondition},
	{ErrTooLate, "too-late", connect.CodeFailedPrecondition},
	{ErrRefused, "refused", connect.CodeFailedPrecondition},
	{ErrHost, "host", connect.CodePermissionDenied},
	{context.Canceled, "cancelled", connect.CodeCanceled},

	{upgrade.ErrTrial, "trial", connect.CodeFailedPrecondition},
	{upgrade.ErrUnordered, "unordered", connect.CodeFailedPrecondition},
	{ErrNothingToConfirm, "nothing-to-confirm", connect.CodeFailedPrecondition},
	{upgrade.ErrSame, "same", connect.CodeFailedPrecondition},
	{upgrade.ErrKnownBad, "known-bad", connect.CodeFailedPrecondition},
	{upgrade.ErrNotComplete, "not-complete", connect.CodeFailedPrecondition},
	{upgrade.ErrDoesNotFit, "does-not-fit", connect.CodeFailedPrecondition},
	{bootloader.ErrVersion, "version", connect.CodeFailedPrecondition},
	{upgrade.ErrUnfit, "unfit", connect.CodeFailedPrecondition},
	{upgrade.ErrPolicy, "policy", connect.CodeFailedPrecondition},
	{upgrade.ErrNotStaged, "not-staged", connect.CodeFailedPrecondition},
	{upgrade.ErrUnproved, "unproved", connect.CodeFailedPrecondition},
	{upgrade.ErrCold, "cold", connect.CodeFailedPrecondition},
	{upgrade.ErrNothingToRollBack, "nothing-to-roll-back", connect.CodeFailedPrecondition},

	{upgrade.ErrRehearsal, "rehearsal", connect.CodeFailedPrecondition},

	{bootloader.ErrForeign, "foreign", connect.CodeFailedPrecondition},
	{bootloader.ErrNoVariables, "no-variables", connect.CodeFailedPrecondition},
	{bootloader.ErrAmbiguous, "ambiguous", connect.CodeFailedPrecondition},
	{bootloader.ErrNotFound, "no-loader", connect.CodeFailedPrecondition},

	{image.ErrReference, "image-reference", connect.CodeInvalidArgument},
	{image.ErrUnsigned, "image-unsigned", connect.CodeFailedPrecondition},
	{image.ErrWrongKey, "image-wrong-key", connect.CodeFailedPrecondition},
	{image.ErrWrongSubject, "image-wrong-subject", connect.CodeFailedPrecondition},
	{image.ErrPolicy, "image-policy", connect.CodeFailedPrecondition},
	{image.ErrNotFound, "image-not-found", connect.CodeNotFound},
	{image.ErrUnreachable, "image-unreachable", connect.CodeUnavailable},
	{image.ErrDenied, "image-denied", connect.CodePermissionDenied},
	{image.ErrPlatform, "image-platform", connect.CodeFailedPrecondition},
	{image.ErrTampered, "image-tampered", connect.CodeDataLoss},
	{image.ErrNoAssets, "image-no-assets", connect.CodeFailedPrecondition},
	{image.ErrUnreadable, "image-unreadable", connect.CodeFailedPrecondition},
	{image.ErrUnsafe, "image-unsafe", connect.CodeFailedPrecondition},

	{partition.ErrBusy, "disk-busy", connect.CodeAborted},
	{partition.ErrNoTable, "disk-foreign", connect.CodeFailedPrecondition},
	{partition.ErrForeign, "disk-foreign", connect.CodeFailedPrecondition},
	{partition.ErrNotFound, "disk-foreign", connect.CodeFailedPrecondition},
	{partition.ErrDamaged, "disk-damaged", connect.CodeDataLoss},

	{context.DeadlineExceeded, "timeout", connect.CodeDeadlineExceeded}, // last: it may be the cause of any of these
}

// Kind is the word by which programs tell err apart over the wire; "unknown" if it is none of:
//
//	busy              another operation runs
//	starting          the boot is not recorded yet
//	config            the node's configuration is wrong
//	request           the request lacks something, or is too large
//	too-many          more is asked for at once than the service gives
//	nothing-to-cancel nothing runs that can be cancelled
//	too-late          the operation came past its commit point before it could be cancelled
//	refused           a hook of the phase allow refuses the order
//	host              the request is for another node, or of a web page
//	cancelled         the caller ended it, or the service was stopped
//	timeout           it took longer than it may
//	trial             the running version is on trial
//	unordered         no attempt ordered this boot, so a person has to confirm it or to go back
//	nothing-to-confirm  the running slot is the default
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
//	disk-busy         the disk or a partition is mounted, or held by another program
//	disk-foreign      the disk is not one that was installed
//	disk-damaged      its partition table is damaged
func Kind(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return "unknown"
}

// maxError bounds the text of an error, in bytes.
const maxError = 8 << 10

// plainError is an error with a text that can be sent.
type plainError struct {
	text string
	err  error
}

func (e plainError) Error() string { return e.text }
func (e plainError) Unwrap() error { return e.err }

// wireError gives err its code and its kind; its text stays, as far as it is one.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	code := connect.CodeUnknown
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			code = k.code
			break
		}
	}
	if text := foreign.Text(err.Error(), maxError); text != err.Error() {
		err = plainError{text, err}
	}
	wire := connect.NewError(code, err)
	if detail, err := connect.NewErrorDetail(&pawlv1.Error{Kind: Kind(err)}); err == nil {
		wire.AddDetail(detail)
	}
	return wire
}
