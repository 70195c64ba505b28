package partition

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Role is what a partition of the machine is for.
type Role string

// The roles, in the order of [Default]. Each is also the label of its partition, as Talos has it, unless [Labels] say
// otherwise.
const (
	EFI       Role = "EFI"       // the boot file system: the loader and both slots
	BIOS      Role = "BIOS"      // GRUB's core image on BIOS
	Meta      Role = "META"      // attempts, images known to be bad, values of the system's own: package meta
	State     Role = "STATE"     // the system's own; no upgrade touches it
	Ephemeral Role = "EPHEMERAL" // the system's own; the trial of an upgrade wipes it, unless it is preserved

	// Mirror is a second boot file system, on this disk or another one; [Default] has none: package upgrade/mirror.
	Mirror Role = "EFI-MIRROR"
)

// Roles lists them in that order, and Mirror at last.
func Roles() []Role { return []Role{EFI, BIOS, Meta, State, Ephemeral, Mirror} }

// Half is the role of one half of the pair of partitions that an image has: the one of that slot, "A" or "B". Of the
// image "root" that is "ROOT-A".
func Half(image, slot string) Role { return Role(strings.ToUpper(image) + "-" + slot) }

// isHalf reports whether a role is one that Half returns.
func isHalf(r Role) bool {
	image, slot, ok := strings.Cut(string(r), "-")
	return ok && (slot == "A" || slot == "B") && image != "" && len(image) <= 16 &&
		strings.Trim(image, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// Labels are the labels of those roles whose partitions are not labelled as the role is called, so that the disk of
// another system is taken as it is. The zero value is for a disk that [Default] laid out. See [ParseLabels].
type Labels map[Role]string

// Of is the label of the partition of a role.
func (l Labels) Of(r Role) string { return cmp.Or(l[r], string(r)) }

// Find is [Layout.Find] for the partition of a role.
func (l Labels) Find(in Layout, r Role) (Partition, error) {
	p, err := in.Find(l.Of(r))
	if err != nil && l[r] != "" {
		err = fmt.Errorf("%s of this machine: %w", r, err)
	}
	return p, err
}

// Check refuses roles that there are not, labels that no table holds, and one label for two roles.
func (l Labels) Check() error {
	for r, label := range l {
		if !slices.Contains(Roles(), r) && !isHalf(r) {
			return fmt.Errorf("no partition has the role %q; the roles are %v, and ROOT-A and ROOT-B of an image root", r,
				Roles())
		}
		if label == "" {
			return fmt.Errorf("label of %s: it is empty", r)
		}
		if err := encodeName(make([]byte, 2*nameUnits), label); err != nil {
			return fmt.Errorf("label of %s: %w", r, err)
		}
	}
	owner := map[string]Role{}
	roles := Roles()
	for _, r := range slices.Sorted(maps.Keys(l)) {
		if isHalf(r) {
			roles = append(roles, r)
		}
	}
	for _, r := range roles {
		if other, taken := owner[l.Of(r)]; taken {
			return fmt.Errorf("label %q is that of %s and of %s; give one of them another label", l.Of(r), other, r)
		}
		owner[l.Of(r)] = r
	}
	return nil
}

// ParseLabels reads labels as commands are told them: "ROLE=LABEL", each role at most once.
func ParseLabels(texts ...string) (Labels, error) {
	var l Labels
	for _, text := range texts {
		role, label, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("label %q: want ROLE=LABEL, such as META=PAWL-META", text)
		case l[Role(role)] != "":
			return nil, fmt.Errorf("label %q: %s has the label %q already", text, role, l[Role(role)])
		case l == nil:
			l = Labels{}
		}
		l[Role(role)] = label
	}
	if err := l.Check(); err != nil {
		return nil, err
	}
	return l, nil
}
