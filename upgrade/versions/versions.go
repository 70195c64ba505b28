// Package versions says which version of a system may follow which.
//
// Start with [Rules.Allow]. Versions are compared as semver.org has it (MAJOR.MINOR.PATCH, a "v" in front, missing
// numbers are 0). What is no such version is not judged; but where an image says what it may follow, that has to be
// shown. The package reads no image and no machine.
package versions

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrPolicy is returned when the rules forbid a move. Do: take the path that the message names, or force.
var ErrPolicy = errors.New("the version policy does not allow it")

// Annotations of an installer image that say what may become of it. Both are optional.
const (
	// FromAnnotation is the lowest version that may be upgraded to the image: "1.1.0".
	FromAnnotation = "org.pawl-os.upgrade.from"
	// ClientAnnotation is the lowest version of the operator's command that may order an upgrade to the image.
	ClientAnnotation = "org.pawl-os.upgrade.client"
)

// MinorSteps is the field of a running system's os-release that sets [Rules.MinorSteps]: see [Rules.Of].
const MinorSteps = "PAWL_MINOR_STEPS"

// Rules say which version may follow which.
//
// A lower version is refused; a rollback is no downgrade. Within one major version at most [MinorSteps] minor versions
// are taken at once. A step to another major version is for the image to judge: see [FromAnnotation].
type Rules struct {
	MinorSteps int // 0: as the system's os-release says, or else 1; negative: any number
}

// Allow returns [ErrPolicy] with the path to take if moving from the version that runs to another is not allowed.
// lowest is what [FromAnnotation] says, or empty.
func (r Rules) Allow(from, to, lowest string) error {
	f, ok1 := parse(from)
	t, ok2 := parse(to)
	if lowest != "" {
		switch l, ok := parse(lowest); {
		case !ok:
			return fmt.Errorf("the image says it may follow %q and later, which is no version such as 1.2.0: %w "+
				"(build it again, or force)", lowest, ErrPolicy)
		case !ok1:
			return fmt.Errorf("%s may follow %s and later, and what runs, %q, cannot be compared with it: %w "+
				"(upgrade to %s first, or force)",
				to, lowest, from, ErrPolicy, lowest)
		case f.compare(l) < 0:
			return fmt.Errorf("%s may follow %s and later, %s runs: %w (upgrade to %s first, then to %s)", to, lowest,
				from, ErrPolicy, lowest, to)
		}
	}
	if !ok1 || !ok2 {
		return nil
	}
	steps := r.MinorSteps
	if steps == 0 {
		steps = 1
	}
	switch {
	case t.compare(f) < 0:
		return fmt.Errorf("%s is lower than %s, which runs: %w (roll back to what the other slot holds, or force)", to,
			from, ErrPolicy)
	case steps < 0 || f.major != t.major || t.minor-f.minor <= steps:
		return nil
	}
	path := []string{fmt.Sprintf("the latest %d.%d", f.major, f.minor)}
	for minor := f.minor + steps; minor < t.minor; minor += steps {
		if len(path) == maxPath {
			path = append(path, "so on")
			break
		}
		path = append(path, fmt.Sprintf("the latest %d.%d", t.major, minor))
	}
	return fmt.Errorf("%s to %s is %d minor versions, at most %d at once: %w (upgrade to %s, then to %s; or force)",
		from, to, t.minor-f.minor, steps, ErrPolicy, strings.Join(path, ", then to "), to)
}

// maxPath is how many versions on the way are named.
const maxPath = 8

// Unjudged says which of two versions cannot be compared, so that Allow did not judge the move; empty if it did.
func Unjudged(from, to string) string {
	var odd []string
	for _, v := range []struct{ what, version string }{{"the one that runs", from}, {"the image's", to}} {
		if !Comparable(v.version) {
			odd = append(odd, fmt.Sprintf("%s, %q,", v.what, v.version))
		}
	}
	if odd == nil {
		return ""
	}
	return fmt.Sprintf("The version policy did not judge this move: %s cannot be compared, as 1.2.0 can.",
		strings.Join(odd, " and "))
}

// AllowClient returns [ErrPolicy] if a client of that version is too old for what [ClientAnnotation] says, or if that
// is no version. A client whose version is not known is not judged.
func AllowClient(client, lowest string) error {
	c, ok1 := parse(client)
	l, ok2 := parse(lowest)
	switch {
	case lowest != "" && !ok2:
		return fmt.Errorf("the image wants pawl %q or later, which is no version such as 1.2.0: %w (build it again, "+
			"or force)", lowest, ErrPolicy)
	case ok1 && ok2 && c.compare(l) < 0:
		return fmt.Errorf("the image wants pawl %s or later, this is %s: %w (take a newer pawl)", lowest, client,
			ErrPolicy)
	}
	return nil
}

// Of are the rules of a machine: r, or what the fields of the running system's os-release say. warning is what is wrong
// with those, one sentence; empty if nothing is.
func (r Rules) Of(release map[string]string) (rules Rules, warning string) {
	said := release[MinorSteps]
	if said == "" || r.MinorSteps != 0 {
		return r, ""
	}
	n, err := strconv.Atoi(said)
	if err != nil || n == 0 {
		return r, fmt.Sprintf("%s=%q in the os-release is no number of minor versions: one at once is allowed.",
			MinorSteps, said)
	}
	return Rules{MinorSteps: n}, ""
}

// Higher reports whether a is a higher version than b. What cannot be compared is not.
func Higher(a, b string) bool {
	v, ok1 := parse(a)
	w, ok2 := parse(b)
	return ok1 && ok2 && v.compare(w) > 0
}

// Comparable reports whether s is a version that can be compared.
func Comparable(s string) bool {
	_, ok := parse(s)
	return ok
}

type version struct {
	major, minor, patch int
	pre                 []string // identifiers of a pre-release; none for a release
}

func parse(s string) (v version, ok bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	s, pre, has := strings.Cut(s, "-")
	if has {
		v.pre = strings.Split(pre, ".")
	}
	parts := strings.Split(s, ".")
	if len(parts) > 3 {
		return version{}, false
	}
	for i, to := range []*int{&v.major, &v.minor, &v.patch}[:len(parts)] {
		n, err := strconv.ParseUint(parts[i], 10, 31)
		if err != nil {
			return version{}, false
		}
		*to = int(n)
	}
	return v, true
}

// compare is negative when v is lower than w.
func (v version) compare(w version) int {
	for _, d := range []int{v.major - w.major, v.minor - w.minor, v.patch - w.patch} {
		if d != 0 {
			return d
		}
	}
	if len(v.pre) == 0 || len(w.pre) == 0 {
		return len(w.pre) - len(v.pre) // a release is higher than what came before it
	}
	for i := range min(len(v.pre), len(w.pre)) {
		if d := compareIdentifier(v.pre[i], w.pre[i]); d != 0 {
			return d
		}
	}
	return len(v.pre) - len(w.pre)
}

// compareIdentifier compares numbers as numbers, and has them lower than words.
func compareIdentifier(a, b string) int {
	n, err1 := strconv.ParseUint(a, 10, 63)
	m, err2 := strconv.ParseUint(b, 10, 63)
	switch {
	case err1 == nil && err2 == nil && n != m:
		if n < m {
			return -1
		}
		return 1
	case err1 == nil && err2 != nil:
		return -1
	case err1 != nil && err2 == nil:
		return 1
	}
	return strings.Compare(a, b)
}
