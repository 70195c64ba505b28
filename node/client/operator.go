package client

import (
	"context"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// Mark remembers an image as bad, or forgets that it is.
func (c *Client) Mark(ctx context.Context, r *pawlv1.MarkRequest) (*pawlv1.MarkResponse, error) {
	v, err := c.rpc.Mark(ctx, r)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	if _, err := whole(c, v.Bad); err != nil {
		return nil, err
	}
	return v, nil
}

// MetaList tells of the values of META with some tags, or all.
func (c *Client) MetaList(ctx context.Context, r *pawlv1.MetaListRequest) (*pawlv1.MetaListResponse, error) {
	v, err := c.rpc.MetaList(ctx, r)
	return v, c.wrap(ctx, err)
}

// MetaSet stores a value of the system's own in META.
func (c *Client) MetaSet(ctx context.Context, tag uint8, value []byte) error {
	_, err := c.rpc.MetaSet(ctx, &pawlv1.MetaSetRequest{Tag: uint32(tag), Value: value})
	return c.wrap(ctx, err)
}

// MetaDelete removes a value of the system's own from META.
func (c *Client) MetaDelete(ctx context.Context, tag uint8) error {
	_, err := c.rpc.MetaDelete(ctx, &pawlv1.MetaDeleteRequest{Tag: uint32(tag)})
	return c.wrap(ctx, err)
}

// LockList tells who holds the lock that the node shares with others.
func (c *Client) LockList(ctx context.Context) (*pawlv1.LockListResponse, error) {
	v, err := c.rpc.LockList(ctx, &pawlv1.LockListRequest{})
	return v, c.wrap(ctx, err)
}

// LockRelease frees a slot of it, and returns what the slot held.
func (c *Client) LockRelease(ctx context.Context, r *pawlv1.LockReleaseRequest) (*pawlv1.LockSlot, error) {
	v, err := c.rpc.LockRelease(ctx, r)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	return whole(c, v.Released)
}

// Settings are what the node's service was told when it was started.
func (c *Client) Settings(ctx context.Context) (*pawlv1.SettingsResponse, error) {
	v, err := c.rpc.Settings(ctx, &pawlv1.SettingsRequest{})
	return v, c.wrap(ctx, err)
}
