package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// pod is what is read of a Pod.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Annotations          map[string]string
		DeletionTimestamp    *string
		OwnerReferences      []struct {
			Kind, Name string
			Controller bool
		}
	}
	Spec struct {
		Volumes []struct{ EmptyDir *struct{} }
	}
	Status struct{ Phase string }
}

func (p pod) name() string { return p.Metadata.Namespace + "/" + p.Metadata.Name }

// mirror is the annotation of a pod that the kubelet has from a file: it cannot be evicted.
const mirror = "kubernetes.io/config.mirror"

// pods are those of this Node.
func (n *Node) pods(ctx context.Context) (all []pod, err error) {
	for next := ""; ; {
		var page struct {
			Metadata struct{ Continue string }
			Items    []pod
		}
		query := url.Values{"fieldSelector": {"spec.nodeName=" + n.config.Node}, "limit": {"500"}, "continue": {next}}
		if err := n.call(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), plain, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if next = page.Metadata.Continue; next == "" {
			return all, nil
		}
	}
}

// goes reports whether a pod is to be evicted; the error says why it must not be. The rules are those of kubectl drain:
// what the kubelet has from files and what a DaemonSet keeps there stays; what nobody would make anew, or what has data
// that would be lost, needs a yes; what is finished goes.
func (n *Node) goes(p pod, orphan func(namespace, daemonSet string) (bool, error)) (bool, error) {
	if _, ok := p.Metadata.Annotations[mirror]; ok {
		return false, nil
	}
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		return true, nil
	}
	kind, name := p.controller()
	if kind == "DaemonSet" {
		if gone, err := orphan(p.Metadata.Namespace, name); err != nil || !gone {
			return false, err
		}
		kind = ""
	}
	if kind == "" && !n.config.Unmanaged {
		return false, refusal{fmt.Errorf("%s: nobody would make it anew (delete it, or allow it for all)", p.name())}
	}
	for _, v := range p.Spec.Volumes {
		if v.EmptyDir != nil && !n.config.EmptyDir {
			return false, refusal{fmt.Errorf("%s: it has an emptyDir volume, which would be lost (delete it, or allow "+
				"it for all)", p.name())}
		}
	}
	return true, nil
}

func (p pod) controller() (kind, name string) {
	for _, o := range p.Metadata.OwnerReferences {
		if o.Controller {
			return o.Kind, o.Name
		}
	}
	return "", ""
}

// orphans asks once for each DaemonSet whether it is gone. A kubelet's credentials may not ask: then it counts as
// there, and its pods stay.
func (n *Node) orphans(ctx context.Context) func(namespace, name string) (bool, error) {
	gone := map[string]bool{}
	return func(namespace, name string) (bool, error) {
		path := fmt.Sprintf("/apis/apps/v1/namespaces/%s/daemonsets/%s", url.PathEscape(namespace),
			url.PathEscape(name))
		if answer, ok := gone[path]; ok {
			return answer, nil
		}
		err := n.call(ctx, http.MethodGet, path, plain, nil, nil)
		gone[path] = is(err, http.StatusNotFound)
		if gone[path] || is(err, http.StatusForbidden) {
			return gone[path], nil
		}
		return false, err
	}
}

// Drain evicts the pods of this Node that are to go, and returns once they are gone. If one must not be evicted, none
// is. Budgets are kept to: an eviction that is refused is tried again, after a pause, until ctx ends; then the error
// names the pods that are left, and why. With Config.Evict it deletes them after that time, budgets or not; grace
// periods and preStop hold all the same. tell is told what is waited for, each time that it changes.
func (n *Node) Drain(ctx context.Context, tell func(string)) error {
	told, ask, forced, begun := "", n.evict, false, time.Now()
	n.tell(ctx, "PawlDraining", "Drains for an upgrade")
	last := errors.New("no time")
	for {
		left, pause, err := n.round(ctx, ask)
		var refused refusal
		switch {
		case errors.As(err, &refused), final(err):
			return n.failed(ctx, err)
		case err == nil && len(left) == 0:
			n.tell(ctx, "PawlDrained", "Drained for an upgrade")
			return nil
		case err == nil:
			err = fmt.Errorf("%d pods are left: %s", len(left), strings.Join(left[:min(len(left), maxNamed)], "; "))
		}
		if ctx.Err() == nil { // else it is the end of the time that it tells
			last = err
		}
		if text := "drain: " + last.Error(); text != told && tell != nil {
			tell(text)
			told = text
		}
		if n.config.Evict > 0 && !forced && time.Since(begun) >= n.config.Evict {
			forced, ask = true, n.remove
			n.tell(ctx, "PawlDrainForced", "Deletes what could not be evicted within "+n.config.Evict.String())
			continue
		}
		if !n.wait(ctx, pause) {
			return n.failed(ctx, last)
		}
	}
}

// failed tells why a drain did not come to its end, also when its time is over.
func (n *Node) failed(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	n.tell(ctx, "PawlDrainFailed", why.Error())
	return fmt.Errorf("drain node %s: %w", n.config.Node, why)
}

// tellTime bounds what is told once a drain's own time is over.
const tellTime = 5 * time.Second

// maxNamed is how many pods are named that are left.
const maxNamed = 5

// refusal is why a drain does not begin.
type refusal struct{ error }

// round looks at all pods and asks those to go that are to; left says of each why it is still there.
func (n *Node) round(ctx context.Context, ask func(context.Context, pod) error) (left []string, pause time.Duration,
	err error) {
	pause = n.config.Pause
	all, err := n.pods(ctx)
	if err != nil {
		return nil, pause, err
	}
	var evict []pod
	var errs []error
	orphan := n.orphans(ctx)
	for _, p := range all {
		goes, err := n.goes(p, orphan)
		var refused refusal
		switch {
		case err != nil && !errors.As(err, &refused):
			return nil, pause, err
		case p.Metadata.DeletionTimestamp != nil:
			if goes || err != nil {
				left = append(left, p.name()+" is ending")
			}
		case err != nil:
			errs = append(errs, err)
		case goes:
			evict = append(evict, p)
		}
	}
	if len(errs) > 0 {
		return nil, pause, refusal{errors.Join(errs...)}
	}
	for _, p := range evict {
		err := ask(ctx, p)
		var a *answer
		switch {
		case err == nil:
			left = append(left, p.name()+" is ending")
		case is(err, http.StatusNotFound), is(err, http.StatusConflict): // it is gone, or another has its name
		case errors.As(err, &a) && a.code == http.StatusTooManyRequests:
			left = append(left, p.name()+": "+a.said)
			pause = max(pause, a.after)
		default: // two budgets, a server that restarts, a pod that has just moved: the next round knows more
			left = append(left, p.name()+": "+err.Error())
		}
	}
	slices.Sort(left)
	return left, pause, nil
}

// evict asks for one eviction, of the very pod that was looked at: one of the same name may run elsewhere by now.
func (n *Node) evict(ctx context.Context, p pod) error {
	name := map[string]string{"name": p.Metadata.Name, "namespace": p.Metadata.Namespace}
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", url.PathEscape(p.Metadata.Namespace),
		url.PathEscape(p.Metadata.Name))
	return n.call(ctx, http.MethodPost, path, plain, map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name,
		"deleteOptions": map[string]any{"preconditions": map[string]string{"uid": p.Metadata.UID}},
	}, nil)
}

// remove asks for one deletion, of the very pod that was looked at.
func (n *Node) remove(ctx context.Context, p pod) error {
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", url.PathEscape(p.Metadata.Namespace),
		url.PathEscape(p.Metadata.Name))
	return n.call(ctx, http.MethodDelete, path, plain, map[string]any{
		"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": map[string]string{"uid": p.Metadata.UID},
	}, nil)
}
