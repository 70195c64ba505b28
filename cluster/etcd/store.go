package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pawl-os/pawl/cluster/lock"
)

// prefix is where the slots of all pools are: /pawl/lock/POOL/INDEX.
const prefix = "/pawl/lock/"

// poolName is what a pool may be called.
var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// CheckPool returns why a pool cannot have a name.
func CheckPool(name string) error {
	if !poolName.MatchString(name) {
		return fmt.Errorf("pool %.70q: want at most 63 of a-z, 0-9, '-' and '.', a letter or a digit first and "+
			"last", name)
	}
	return nil
}

// Store keeps the slots of a pool in etcd, one key each. A key without a lease stays until it is deleted; deleting
// works where etcd has no space left.
func (c *Cluster) Store(pool string) (lock.Store, error) {
	if err := CheckPool(pool); err != nil {
		return nil, err
	}
	return store{c.client, prefix + pool + "/"}, nil
}

type store struct {
	client *clientv3.Client
	prefix string
}

// maxSlots bounds what is read.
const maxSlots = 1000

// Slots implements lock.Store.
func (s store) Slots(ctx context.Context) ([]lock.Slot, error) {
	r, err := s.client.Get(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithLimit(maxSlots))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.prefix, err)
	}
	var slots []lock.Slot
	for _, kv := range r.Kvs {
		slot, err := parse(strings.TrimPrefix(string(kv.Key), s.prefix), kv.Value)
		if err != nil {
			return nil, fmt.Errorf("read %.200q, which others than Pawl have written: %w (delete it)", kv.Key, err)
		}
		slot.Version = strconv.FormatInt(kv.ModRevision, 10)
		slots = append(slots, slot)
	}
	slices.SortFunc(slots, func(a, b lock.Slot) int { return a.Index - b.Index })
	return slots, nil
}

func parse(name string, value []byte) (slot lock.Slot, err error) {
	if slot.Index, err = strconv.Atoi(name); err != nil || slot.Index < 0 || strconv.Itoa(slot.Index) != name {
		return slot, fmt.Errorf("%.50q is no number of a slot", name)
	}
	if err := json.Unmarshal(value, &slot.Record); err != nil {
		return slot, err
	}
	return slot, slot.Record.Check()
}

// Write implements lock.Store. What is compared is the revision of the key's last change, which no key ever has again,
// not the key's own version, which starts from one when it is made anew.
func (s store) Write(ctx context.Context, at lock.Slot, to lock.Record) error {
	key := s.prefix + strconv.Itoa(at.Index)
	var revision int64
	if at.Version != "" {
		var err error
		if revision, err = strconv.ParseInt(at.Version, 10, 64); err != nil {
			return fmt.Errorf("write %s: its version was not read here: %w", key, err)
		}
	}
	op := clientv3.OpDelete(key)
	if !to.Free() {
		value, err := json.Marshal(to)
		if err != nil {
			return fmt.Errorf("write %s: %w", key, err)
		}
		op = clientv3.OpPut(key, string(value))
	}
	r, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(op).Commit()
	switch {
	case err != nil:
		return fmt.Errorf("write %s: %w", key, err)
	case !r.Succeeded:
		return lock.ErrMoved
	}
	return nil
}
