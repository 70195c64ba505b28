// Package quorum decides whether a member of a cluster that votes may go: restart, or leave for a while. It reads
// nothing but its arguments. etcd itself says nothing against a restart, and little against leaving: for the first
// seconds of a pause it takes a member for healthy.
package quorum

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Member is one member of the cluster, as it was just seen.
type Member struct {
	Name    string // empty: it was added and has never started
	Self    bool
	Learner bool
	Ill     string // why it does not count as healthy; of the member itself it makes no difference
}

// View is the cluster as a member sees it that wants to go.
type View struct {
	Members []Member
	Alarms  []string
	Leaves  bool // it is removed, and comes back as a new one; else it stays a member and restarts
	Spare   int  // how many of the others may be missing already, as far as the quorum allows it
}

// ErrNotNow is returned when a member should not go now. Do what the error says, and ask again.
var ErrNotNow = errors.New("the cluster cannot spare this member now")

// ErrNoMember is returned for a node that is no member of the cluster. Do: see that its name is right; or have it join.
var ErrNoMember = errors.New("this node is no member")

// Allow returns why the member must not go, or nil.
func Allow(v View) error {
	var ill []string
	healthy, voters, self := 0, 0, false
	for _, m := range v.Members {
		switch {
		case m.Learner:
			return no("member %q is a learner that nobody has promoted yet (wait until it votes, or remove it)", m.Name)
		case m.Name == "":
			return no("a member was added and has not started yet (start it, or remove it)")
		}
		voters++
		switch {
		case m.Self:
			self = true
		case m.Ill == "":
			healthy++
		default:
			ill = append(ill, fmt.Sprintf("%s (%s)", m.Name, m.Ill))
		}
	}
	stays := voters // of those that vote while it is away
	if v.Leaves {
		stays--
	}
	need := stays/2 + 1
	switch {
	case !self:
		return no("this node is no member of it (see that its etcd runs and has the name that was given)")
	case len(v.Alarms) > 0:
		return no("it has raised %s (free its space or repair it, then disarm the alarm)",
			strings.Join(slices.Compact(v.Alarms), ", "))
	case voters == 1 && v.Leaves:
		return no("this is its only member, and what it knows would be lost (upgrade with --preserve: it is away " +
			"for the restart)")
	case voters == 1:
		return nil
	case voters == 2 && v.Leaves:
		return no("it has two members, and one alone keeps what it knows only once (add a third, or upgrade with " +
			"--preserve)")
	case voters == 2:
		return no("it has two members, and stops while either is away (add a third)")
	case healthy < need:
		return no("%d healthy voters would remain, and %d of %d are needed; not healthy: %s (bring them back first)",
			healthy, need, stays, strings.Join(ill, ", "))
	case len(ill) > v.Spare:
		return no("not healthy: %s (bring them back first)", strings.Join(ill, ", "))
	}
	return nil
}

func no(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrNotNow, fmt.Errorf(format, args...))
}
