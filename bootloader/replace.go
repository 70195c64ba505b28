package bootloader

import "errors"

// Errors of replacing a loader.
var (
	// ErrRisk is returned when the loader cannot be replaced so that every power cut leaves one that starts. Nothing
	// was written. Do: leave it, or force it while the power is safe.
	ErrRisk = errors.New("replacing the loader is not safe on this machine")
	// ErrOlder is returned when the loader that is installed is the newer one. Nothing was written. Do: nothing, or
	// force it.
	ErrOlder = errors.New("the installed loader is newer")
	// ErrMachine is returned for a loader that is for another kind of machine. Nothing was written, and force does not
	// help. Do: use an image that was built for this machine.
	ErrMachine = errors.New("the loader is for another kind of machine")
	// ErrForbidden is returned for a loader that Secure Boot of this machine forbids, or that is no program. Nothing was
	// written, and force does not help. Do: sign it with a key that this firmware knows, and build the image again.
	ErrForbidden = errors.New("this firmware does not start the loader")
	// ErrRefused is returned for a loader that this firmware did not start, or is not known to start. Nothing was
	// written. Do: what the message says; force it only with another way to start the machine at hand.
	ErrRefused = errors.New("this firmware is not known to start the loader")
	// ErrNotOurs is returned when what lies in the loader's place is not what was installed there: a shim, or another
	// loader. Nothing was written. Do: nothing, or force it.
	ErrNotOurs = errors.New("what firmware starts was not installed by Pawl")
)

// NeverStarts reports whether an error says that firmware certainly does not start a loader. Force does not help then.
func NeverStarts(err error) bool { return errors.Is(err, ErrMachine) || errors.Is(err, ErrForbidden) }

// Replacer is a Bootloader whose own file can be replaced by the one that a slot holds ([LoaderFile], [CoreFile]): see
// Takes.OwnFile.
type Replacer interface {
	Bootloader

	// InWholeDisk reports whether the loader is in none of the partitions that a running system may open by themselves,
	// so that it is replaced only while the disk is opened as a whole.
	InWholeDisk() bool

	// Compare says how the installed loader compares with the one in slot s. It writes nothing.
	Compare(s Slot) (Comparison, error)

	// Fits says why the loader in slot s is none for machines of that architecture (a GOARCH): it is no such loader, or
	// it is ErrMachine. It is nil where the slot holds none.
	Fits(s Slot, arch string) error

	// Replace installs the loader of slot s, which runs and is the default, and reads it back. It can be cut at any
	// write and called again: unless it is forced, a machine that is cut starts s. With nothing to replace it sees to
	// it that firmware can start the slot's own copy. It refuses with ErrRisk, ErrOlder and ErrRefused, unless it is
	// forced, and always where it NeverStarts. What is in the loader's place is replaced whatever it is: see
	// Comparison.Digest.
	Replace(s Slot, o ReplaceOptions) error

	// Try has the firmware start the loader of slot s, which runs and is the default, once at the next start, where
	// that lies in the slot. It boots what the installed one would boot. It refuses with ErrForeign and ErrNoVariables,
	// and with ErrRisk on a machine without such entries. Disarm and Arm take it back.
	Try(s Slot) error

	// Tried says what became of it. On a machine without such entries it is the zero value.
	Tried(s Slot) (Tried, error)

	// Untry takes it back.
	Untry() error

	// EnsureStart sees to it that firmware starts the loader by an entry of our own. On a machine without such entries
	// it does nothing.
	EnsureStart() error
}

// Tried is what the firmware says of a loader that was to be started once. After a start by kexec it is what it said
// before.
type Tried struct {
	Waits bool   // the next start through the firmware is to go through it
	Came  bool   // this boot came through it
	By    string // what started this boot, for people; "" when that is not known
}

// ReplaceOptions are the choices of Replace. The zero value takes no risk.
type ReplaceOptions struct {
	Force     bool         // also with a risk, by an older loader, and by one that firmware is not known to start
	DropCache func() error // makes the next read come from the device; nil where there is no cache
}

// Comparison is an installed loader beside the one of a slot.
type Comparison struct {
	Installed string // name and version of the one that is installed, for people, or why it is not known
	Missing   bool   // firmware finds no program in its place, as a cut while it is replaced may leave it
	Digest    string // its SHA-256, 64 hex digits; "" when it cannot be read
	Own       string // name and version of the slot's; "" when the slot holds none
	Same      bool   // they are the same, byte for byte
	Older     bool   // the slot's says that it is the older one
	// why it cannot be replaced ([NeverStarts]), or not without risk (ErrRefused, ErrRisk); nil when it can
	Unsafe error
	Notes  []string
}
