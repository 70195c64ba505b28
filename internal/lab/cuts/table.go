// Package cuts cuts the power of a machine in every phase of an upgrade, and requires that it ends right: in the
// version that worked, or confirmed in the new one, with nothing left undone, and able to upgrade again.
//
// Start with Table, the phases and their outcome, which is docs/sequence.md as data. Run does it to machines in QEMU;
// the tests of cmd/pawl do it to a disk in a file, with the model of firmware and loader. The phases are known by what
// the node service tells its observer as each begins, so a phase that is not in the table is a fault too.
//
// It does not cut between two writes of one step: that is package internal/lab/proof's.
package cuts

// Order is an order of the operator whose phases are cut.
type Order string

// The kinds.
const (
	Upgrade Order = "upgrade"
	Staged  Order = "staged" // with a restart at once
	Kexec   Order = "kexec"  // an upgrade whose trial is started by kexec
)

// Cut is one phase, and what follows when the power fails as it begins.
type Cut struct {
	Order Order
	At    string // as node.Place names it: "upgrade/drain" is a phase, "upgrade:write" a step
	New   bool   // the machine ends in the new version, confirmed; else in the old one
	Says  string // part of what is said of the attempt; empty: none was made
}

// What is said of attempts.
const (
	confirmed = "confirmed"
	abandoned = "abandoned: the machine restarted before it was armed"
	notKnown  = "fell back: the new version is not known to have started"
	started   = "fell back: the new version started, then ended without a word"
)

// Table lists every phase of each kind.
func Table() (all []Cut) {
	add := func(k Order, isNew bool, says string, at ...string) {
		for _, a := range at {
			all = append(all, Cut{k, a, isNew, says})
		}
	}
	before := []string{"upgrade:find", "upgrade:disarm", "upgrade:clear", "upgrade:write", "upgrade:verify",
		"upgrade:complete"}
	trial := []string{"trial:wipe-EPHEMERAL", "trial/migrate", "trial/checks", "trial/window", "trial/confirm"}
	after := []string{"trial:record-the-confirmation", "settle/rejoin", "settle/uncordon", "settle/unlock"}

	add(Upgrade, false, "", append([]string{"upgrade/resolve", "upgrade/allow", "upgrade/prepare"}, before...)...)
	add(Upgrade, false, "", "upgrade:prepare")
	add(Upgrade, false, abandoned, "upgrade/lock", "upgrade/cordon", "upgrade/drain", "upgrade/leave", "upgrade/stop",
		"upgrade/unmount", "upgrade/free", "upgrade/load", "upgrade/last", "upgrade/arm", "upgrade:arm")
	add(Upgrade, false, notKnown, "upgrade:arm-the-loader")
	add(Upgrade, true, confirmed, "upgrade/shutdown")
	add(Upgrade, false, notKnown, "trial/started")
	add(Upgrade, false, started, trial...)
	add(Upgrade, true, confirmed, after...)

	add(Staged, false, "", append([]string{"upgrade/resolve", "upgrade/allow", "upgrade/stage"}, before...)...)
	add(Staged, false, "", "upgrade:prepare")
	add(Staged, true, confirmed, "upgrade/lock", "upgrade/cordon", "upgrade/drain", "upgrade/leave", "upgrade/stop",
		"upgrade/load", "upgrade/last", "upgrade/shutdown", "apply:verify", "apply:arm")
	add(Staged, false, notKnown, "upgrade:arm-the-loader")
	add(Staged, false, notKnown, "trial/started")
	add(Staged, false, started, trial...)
	add(Staged, true, confirmed, after...)

	add(Kexec, false, abandoned, "upgrade/load", "upgrade/arm", "upgrade:arm")
	add(Kexec, false, notKnown, "upgrade:arm-the-loader", "upgrade/shutdown", "trial/started")
	add(Kexec, false, started, trial...)
	add(Kexec, true, confirmed, after...)
	return all
}
