package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/pawl-os/pawl/cluster/lock"
)

// record is the annotation of a Lease that holds what its slot does.
const record = "pawl-os.org/record"

// Leases is Store for who is no node: Config.Node is not needed.
func Leases(c Config, namespace, name string, of int) (lock.Store, error) {
	n, err := open(c)
	if err != nil {
		return nil, err
	}
	return n.Store(namespace, name, of), nil
}

// Store keeps the slots of a pool in Leases NAME-0 to NAME-(of-1) of a namespace, which have to be there. Nothing of a
// Lease's times is used: a slot has none.
func (n *Node) Store(namespace, name string, of int) lock.Store {
	path := fmt.Sprintf("/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s-", url.PathEscape(namespace),
		url.PathEscape(name))
	return store{n, path, of}
}

type store struct {
	node *Node
	path string
	of   int
}

// lease is a Lease as far as it matters; what else it has stays, for only this is patched.
type lease struct {
	Metadata struct {
		ResourceVersion string
		Annotations     map[string]string
	}
}

// Slots implements lock.Store.
func (s store) Slots(ctx context.Context) (slots []lock.Slot, err error) {
	for i := range s.of {
		var l lease
		path := fmt.Sprint(s.path, i)
		err := s.node.call(ctx, http.MethodGet, path, plain, nil, &l)
		if is(err, http.StatusNotFound) {
			return nil, fmt.Errorf("read %s: %w (it has to be made: a node may not)", path, err)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		slot := lock.Slot{Index: i, Version: l.Metadata.ResourceVersion}
		if text := l.Metadata.Annotations[record]; text != "" {
			if err := errors.Join(json.Unmarshal([]byte(text), &slot.Record), slot.Record.Check()); err != nil {
				return nil, fmt.Errorf("read %s, which others than Pawl have written: %w (remove its annotation "+
					"%s)", path, err, record)
			}
		}
		slots = append(slots, slot)
	}
	return slots, nil
}

// Write implements lock.Store. The resource version is that of the whole cluster's history, so it never comes again.
func (s store) Write(ctx context.Context, at lock.Slot, to lock.Record) error {
	var text, holder any // nil removes them
	if !to.Free() {
		encoded, err := json.Marshal(to)
		if err != nil {
			return err
		}
		text, holder = string(encoded), to.Node
	}
	path := fmt.Sprint(s.path, at.Index)
	err := s.node.call(ctx, http.MethodPatch, path, merge, map[string]any{
		"metadata": map[string]any{"resourceVersion": at.Version, "annotations": map[string]any{record: text}},
		"spec":     map[string]any{"holderIdentity": holder},
	}, nil)
	if is(err, http.StatusConflict) {
		return lock.ErrMoved
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
