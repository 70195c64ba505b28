package client

import (
	"context"
	"errors"
	"time"
)

// errRestarted ends what was told in a boot that is over.
var errRestarted = errors.New("the node has restarted")

// upEvery is the pause between two looks at whether the node is still in the same boot.
const upEvery = time.Second

// whileUp returns a context that ends, with errRestarted, once the node is in another boot than that. A machine whose
// power fails, or that is reset, closes no connection: who reads from one would wait for very long.
func (c *Client) whileUp(ctx context.Context, boot string) (life context.Context, end func()) {
	life, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			select {
			case <-time.After(upEvery):
			case <-life.Done():
				return
			}
			limited, done := context.WithTimeout(life, pollTime)
			v, err := c.Version(limited)
			done()
			if err == nil && v.BootId != boot {
				cancel(errRestarted)
			}
		}
	}()
	return life, func() { cancel(nil) }
}

// ended is why a call ended that was made while the node was up.
func (c *Client) ended(life context.Context, err error) error {
	if errors.Is(context.Cause(life), errRestarted) {
		return &Error{Node: c.Node, Kind: Unreachable, Text: "the connection was lost: " + errRestarted.Error(),
			err: errRestarted}
	}
	return c.wrap(life, err)
}
