package rollout

import (
	"cmp"
	"fmt"
	"strings"
)

// quiet reports whether nothing of an upgrade is to be seen: nothing runs, is armed, on trial or still to be undone.
func (n Node) quiet() bool { return n.doing() == "" }

// open reports whether the node's attempt has not ended.
func (n Node) open() bool { return n.Attempt != nil && n.Attempt.Result == "" }

// doing is why a node is not quiet; empty if it is.
func (n Node) doing() string {
	switch {
	case n.Away != "":
		return "does not answer: " + n.Away
	case n.Unordered != "":
		return "runs what nothing confirms (a person has to confirm it, or go back): " + n.Unordered
	case n.Busy != "":
		return n.Busy
	case n.Trial:
		return "on trial"
	case n.Undoing != "":
		return "to be undone: " + n.Undoing
	case n.open() || n.Armed:
		return "its next boot is of another version"
	}
	return ""
}

// at reports whether what a node does is the upgrade to the image.
func (n Node) at(reference, digest string) bool {
	switch {
	case n.Unordered != "":
		return false
	case n.For != "":
		return n.For == reference
	case n.open():
		return n.Attempt.Image == digest
	}
	return n.Image == digest
}

// failed reports whether the node's latest attempt was to move to the image, and failed, and is another than before.
func (n Node) failed(digest, before string) bool {
	a := n.Attempt
	return a != nil && a.Image == digest && a.ID != before && a.Result != "" && a.Result != "confirmed"
}

// last is the attempt whose end is of no interest any more.
func (n Node) last() string {
	if n.Attempt == nil || n.open() {
		return ""
	}
	return n.Attempt.ID
}

// unavailable reports whether a node does not do its work, or will soon not. It is what is seen that counts, and
// beside that an order of which nothing is seen yet.
func unavailable(n Node, r Record) bool {
	return !n.Ready || n.Cordoned || n.Problem != "" || !n.quiet() || r.State == Ordered || r.State == Upgrading
}

// view is what is written down of a node once it was looked at.
func view(r Record, n Node, in Input, s Status) Record {
	before, digest := r.State, s.Digest
	r.Version = cmp.Or(n.Version, r.Version)
	if n.Away == "" && digest != "" && r.Target != digest {
		r.Target, r.Attempt = digest, n.last()
	}
	ours := r.State == Ordered || r.State == Upgrading
	switch {
	case digest == "": // nothing was ordered yet
		r.State, r.Message = Pending, n.doing()
	case n.Away != "" && r.State == Failed:
	case n.Away != "":
		r.Message = n.doing()
	case n.quiet() && n.Image == digest:
		r.State, r.Message = Done, ""
	case n.failed(digest, r.Attempt):
		r.State, r.Message = Failed, strings.TrimSuffix(n.Attempt.Result+": "+n.Attempt.Reason, ": ")
	case ours && n.Attempt == nil && n.Boot != r.Boot && n.Image != digest:
		r.State, r.Message = Failed, "it restarted, and has no record of why it does not run the image"
	case n.quiet() && ours:
		r = fruit(r, n, digest)
	case n.quiet():
		r = still(r, n, digest)
	case r.State == Failed:
	case r.State != Done && n.at(Pinned(s.Image, digest), digest):
		if r.Message = n.doing(); !ours {
			r.At, r.Boot = in.Now, n.Boot // by another's order, or by one that is not known to have arrived
		}
		r.State = Upgrading
	default:
		if r.Message = n.doing(); r.State == Ordered {
			r.State = Pending // it does something else; unavailable it is all the same
		}
	}
	ours = r.State == Ordered || r.State == Upgrading
	if limit := cmp.Or(in.Spec.Timeout, TimeoutDefault); ours && in.Now.Sub(r.At) > limit {
		r.State, r.Message = Failed, fmt.Sprintf("not done within %s; %s", limit,
			cmp.Or(r.Message, "nothing came of the order"))
	}
	if r.State != before {
		r.Since = in.Now
	}
	return r
}

// fruit is what came of an order, of a node that is quiet, does not run the image and has not failed to.
func fruit(r Record, n Node, digest string) Record {
	switch a := n.Attempt; {
	case a != nil && a.ID != r.Attempt && a.Image == digest:
		r.State, r.Message = Failed, "it confirmed the image, and runs another again"
	case n.Refused != nil && n.Refused.Final:
		r.State, r.Message = Failed, n.Refused.Text
	case n.Refused != nil:
		r.State, r.Message = Ordered, n.Refused.Text
	default:
		r.State, r.Message = Ordered, "" // it never arrived, or nothing that lasts was done
	}
	return r
}

// still is a node that was not ordered, is quiet and does not run the image.
func still(r Record, n Node, digest string) Record {
	switch {
	case r.State == Failed:
	case r.State == Done:
		r.State, r.Message = Failed, "it was done, and now runs "+cmp.Or(n.Version, "another version")+" again"
	case n.Bad[digest] != "":
		r.State, r.Message = Failed, "the image is known to be bad there: "+n.Bad[digest]
	default:
		r.State, r.Message = Pending, n.Problem
	}
	return r
}

// Pinned is the reference by which all nodes get the very same image.
func Pinned(reference, digest string) string {
	if digest == "" || digestOf(reference) != "" {
		return reference
	}
	if slash, colon := strings.LastIndex(reference, "/"), strings.LastIndex(reference, ":"); colon > slash {
		reference = reference[:colon]
	}
	return reference + "@" + digest
}

// digestOf is what a reference says by itself.
func digestOf(reference string) string {
	_, digest, _ := strings.Cut(reference, "@")
	return digest
}
