package api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Calls of an operator's tools.

func (v service) Mark(ctx context.Context, r *pawlv1.MarkRequest) (*pawlv1.MarkResponse, error) {
	var changed bool
	do := func(ctx context.Context) (bad attempt.Bad, err error) {
		bad, changed, err = v.s.MarkImage(ctx, goMarkRequest(r))
		return bad, err
	}
	return recorded(ctx, v, do, func(bad attempt.Bad) *pawlv1.MarkResponse {
		return &pawlv1.MarkResponse{Bad: wireBad(bad), Changed: changed}
	})
}

func (v service) MetaList(ctx context.Context, r *pawlv1.MetaListRequest) (*pawlv1.MetaListResponse, error) {
	do := func(ctx context.Context) ([]node.MetaValue, error) {
		var tags []uint8
		for _, t := range r.Tags {
			tag, err := goTag(t)
			if err != nil {
				return nil, err
			}
			tags = append(tags, tag)
		}
		return v.s.MetaValues(ctx, tags)
	}
	return recorded(ctx, v, do, func(values []node.MetaValue) *pawlv1.MetaListResponse {
		return wireMeta(values, r.Values)
	})
}

func goMarkRequest(r *pawlv1.MarkRequest) node.MarkRequest {
	return node.MarkRequest{Image: r.Image, Slot: bootloader.Slot(r.Slot), Bad: r.Bad, Reason: r.Reason}
}

// wireMeta tells of values, and of what they are only if that was asked for.
func wireMeta(values []node.MetaValue, whole bool) *pawlv1.MetaListResponse {
	w := new(pawlv1.MetaListResponse)
	for _, value := range values {
		one := &pawlv1.MetaValue{Tag: uint32(value.Tag), Size: uint32(len(value.Value)), Of: value.Of}
		if whole {
			one.Value = value.Value
		}
		w.Values = append(w.Values, one)
	}
	return w
}

func (v service) MetaSet(ctx context.Context, r *pawlv1.MetaSetRequest) (*pawlv1.MetaSetResponse, error) {
	value := append([]byte{}, r.Value...) // an empty value is one
	return recorded(ctx, v, v.setter(r.Tag, value), func(bool) *pawlv1.MetaSetResponse {
		return &pawlv1.MetaSetResponse{}
	})
}

func (v service) MetaDelete(ctx context.Context, r *pawlv1.MetaDeleteRequest) (*pawlv1.MetaDeleteResponse, error) {
	return recorded(ctx, v, v.setter(r.Tag, nil), func(bool) *pawlv1.MetaDeleteResponse {
		return &pawlv1.MetaDeleteResponse{}
	})
}

func (v service) setter(tag uint32, value []byte) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		t, err := goTag(tag)
		if err == nil {
			err = v.s.SetMetaValue(ctx, t, value)
		}
		return err == nil, err
	}
}

func goTag(tag uint32) (uint8, error) {
	if tag < 1 || tag > 0xff {
		return 0, fmt.Errorf("META tag %d: want 1 to 255: %w", tag, node.ErrRequest)
	}
	return uint8(tag), nil
}

func (v service) Settings(context.Context, *pawlv1.SettingsRequest) (*pawlv1.SettingsResponse, error) {
	return wireSettings(v.s.Settings()), nil
}

func wireSettings(all map[string]string) *pawlv1.SettingsResponse {
	w := new(pawlv1.SettingsResponse)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w.Settings = append(w.Settings, &pawlv1.Setting{Name: name, Value: all[name]})
	}
	return w
}
