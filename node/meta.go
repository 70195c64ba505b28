package node

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-os/pawl/partition/meta"
)

// MetaValue is one value of META.
type MetaValue struct {
	Tag   uint8
	Value []byte
	Of    string // whose it is, where that is known: "pawl", "talos"; empty: the system's own
}

// MetaValues reads the values of META with some tags, or all, by rising tag. They may be secrets of the system's.
func (s *Server) MetaValues(_ context.Context, tags []uint8) (all []MetaValue, err error) {
	var values map[uint8][]byte
	err = s.with(true, func(m machine) error {
		values, err = m.MetaValues()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read META: %w", err)
	}
	for _, tag := range slices.Sorted(maps.Keys(values)) {
		if len(tags) > 0 && !slices.Contains(tags, tag) {
			continue
		}
		v := MetaValue{Tag: tag, Value: values[tag]}
		switch {
		case meta.Ours(tag):
			v.Of = "pawl"
		case slices.Contains([]uint8{meta.TagUpgrade, meta.TagStagedImage, meta.TagStagedOptions}, tag):
			v.Of = "talos"
		}
		all = append(all, v)
	}
	for _, tag := range tags {
		if _, ok := values[tag]; !ok {
			return nil, fmt.Errorf("read META: tag 0x%02x: %w", tag, meta.ErrNoTag)
		}
	}
	return all, nil
}

// SetMetaValue stores a value of the system's own in META, or deletes it if it is nil, in its turn like every
// operation.
func (s *Server) SetMetaValue(ctx context.Context, tag uint8, value []byte) error {
	what := "set"
	if value == nil {
		what = "delete"
	}
	op := s.newOperation(fmt.Sprintf("%s META value 0x%02x", what, tag))
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		return s.with(false, func(m machine) error { return m.SetMetaValue(tag, value) })
	})
}
