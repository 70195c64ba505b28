package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/pawl-os/pawl/node/client"
)

// inTurn goes through the nodes one after the other and stops at the first that fails.
func (c *cli) inTurn(ctx context.Context, nodes []*client.Client,
	do func(context.Context, *client.Client) error) error {
	return c.fleet(ctx, nodes, 1, do)
}

// fleet goes through the nodes, so many at once. Once one has failed none is begun any more, and those that are
// underway are followed to their end.
func (c *cli) fleet(ctx context.Context, nodes []*client.Client, most int,
	do func(context.Context, *client.Client) error) error {
	var same map[*client.Client]*client.Client
	if len(nodes) > 1 {
		same = c.otherNames(ctx, nodes)
	}
	f := &fleet{places: make(chan struct{}, most), errs: make([]error, len(nodes))}
	for i, node := range nodes {
		before := same[node]
		switch {
		case before != nil && !f.failed():
			c.line(node, "already: it is %s under another name", before.Node)
			c.object(node, "already", map[string]string{"node": before.Node})
		case before != nil || !f.enter():
			f.left = append(f.left, node.Node)
		default:
			f.running.Go(func() {
				defer f.leave()
				defer c.board.begin(node.Node, most > 1)()
				limited, cancel := context.WithTimeout(ctx, c.timeout)
				defer cancel()
				if err := advised(do(limited, node)); err != nil {
					f.fail(i, err)
					c.printError(node, err)
					if most > 1 { // the others may take long
						c.line(node, "failed: %s", strings.TrimPrefix(err.Error(), node.Node+": "))
					}
				}
			})
		}
	}
	f.running.Wait()
	if f.failed() && len(f.left) > 0 {
		f.errs = append(f.errs, fmt.Errorf("not touched: %s", strings.Join(f.left, ", ")))
	}
	return errors.Join(f.errs...)
}

// fleet is how far the nodes of one command are.
type fleet struct {
	places  chan struct{} // one for each node that is underway
	running sync.WaitGroup
	left    []string // nodes that were not begun

	mu   sync.Mutex
	errs []error // by node
	bad  bool
}

// enter waits for a place; false once a node has failed.
func (f *fleet) enter() bool {
	f.places <- struct{}{}
	if f.failed() {
		<-f.places
		return false
	}
	return true
}

func (f *fleet) leave() { <-f.places }

func (f *fleet) fail(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[i], f.bad = err, true
}

func (f *fleet) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}
