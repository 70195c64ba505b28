package node

import (
	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// MaxReference bounds an image's reference, in bytes.
const MaxReference = 1 << 10

// UpgradeRequest orders an upgrade. Only Image is required.
type UpgradeRequest struct {
	Image    string // reference of an installer image
	Preserve bool   // keep EPHEMERAL
	// also an image that runs already, that failed before, that looks unfit to boot, or that the version policy refuses
	Force    bool
	Tries    int    // trial boots; 0 is 1
	Reboot   bool   // restart into the trial once it is armed
	Attached bool   // it ends with its caller, so that nobody else may join it
	Stage    bool   // prepare now, arm at the next boot; Reboot then means: restart now, into the running version
	Mode     string // how to restart: ModeAuto (also when empty), ModeKexec, ModePowercycle
	Client   string // version of the command that asks; empty if not known
	Way      string // how systemd-boot is told to try it: see upgrade.Options.Trial
}

// PlanRequest asks what an upgrade would do. Its fields are those of [UpgradeRequest].
type PlanRequest struct {
	Image           string
	Preserve, Force bool
	Way             string
}

// RollbackRequest orders to go back.
type RollbackRequest struct {
	Reboot   bool   // restart if the rollback needs it
	Attached bool   // as of UpgradeRequest
	Mode     string // as of UpgradeRequest
	Force    bool   // also to a version that failed its trial, or that never proved itself
}

// RebootRequest orders a restart.
type RebootRequest struct {
	Force bool   // also while an operation runs, or the disk does not answer
	Mode  string // as of UpgradeRequest
}

// Since says where a listing of events, or of the kernel's log, begins, and whether it goes on.
type Since struct {
	ID     uint64 // of the last event, or message, that is known already; 0: all
	BootID string // of the boot that ID belongs to; in another boot all is told
	Follow bool
}

// Expected is what the node should be after its next boot.
type Expected struct {
	BootID  string // of this boot, so that the next can be told from it
	Version string // empty if not known, like Image
	Image   string
	Trial   bool            // that boot is a trial, and will be confirmed or fall back
	Attempt string          // ID of the attempt; empty if there is none
	Slot    bootloader.Slot // None if not known
}

// Confirmed is what Confirm made the default.
type Confirmed struct {
	Attempt *attempt.Attempt // that the confirmation ended; nil where META cannot be read
	Slot    bootloader.Slot
	Version string
}

// About says what answers.
type About struct {
	Version string // of the node service, see the function Version
	BootID  string // names this boot
	Run     string // names this run of the service: two addresses that tell the same lead to one node
}
