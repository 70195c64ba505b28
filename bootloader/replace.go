package bootloader

import "errors"

// Errors of replacing a loader.
var (
	// ErrRisk is returned when the loader cannot be replaced so that every power cut leaves one that starts. Nothing was
	// written. Do: leave it, or force it while the power is safe.
	ErrRisk = errors.New("replacing the loader is not safe on this machine")
	// ErrOlder is returned when the loader that is installed is the newer one. Nothing was written. Do: nothing, or force it.
	ErrOlder = errors.New("the installed loader is newer")
)

// Replacer is a Bootloader whose own file can be replaced by the one that a slot holds (LoaderFile, CoreFile). It is an
// interface of its own, because an upgrade does not need it.
type Replacer interface {
	// Compare says how the installed loader compares with the one in slot s. It writes nothing.
	Compare(s Slot) (Comparison, error)

	// Replace installs the loader of slot s, which runs and is the default, and reads it back. It can be cut at any write and called
	// again: unless it is forced, a machine that is cut starts s. With nothing to replace it sees to it that firmware
	// can start the slot's own copy. It refuses with ErrRisk and ErrOlder, unless it is forced.
	Replace(s Slot, o ReplaceOptions) error

	// EnsureStart sees to it that firmware starts the loader by an entry of our own. On a machine without such entries it does nothing.
	EnsureStart() error
}

// ReplaceOptions are the choices of Replace. The zero value takes no risk.
type ReplaceOptions struct {
	Force     bool         // also with a risk, and also by an older loader
	DropCache func() error // makes the next read come from the device; nil where there is no cache
}

// Comparison is an installed loader beside the one of a slot.
type Comparison struct {
	Installed string // name and version of the one that is installed, for people, or why it is not known
	Digest    string // its SHA-256, 64 hex digits; "" when it cannot be read
	Own       string // name and version of the slot's; "" when the slot holds none
	Same      bool   // they are the same, byte for byte
	Older     bool   // the slot's says that it is the older one
	Unsafe    error  // why it cannot be replaced without risk (ErrRisk); nil when it can
	Notes     []string
}
