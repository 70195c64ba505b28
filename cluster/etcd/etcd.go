// Package etcd is a member's view of its etcd cluster: whether it may go, how it leaves and comes back, and a
// lock.Store in it. Start with Open.
//
// Every call is made in tries of a few seconds, each to whichever member answers: one that is paused or cut off answers
// nothing until a deadline. Nothing here starts or stops etcd: the system does.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pawl-os/pawl/cluster/quorum"
)

// Config says which cluster, and which of its members this node runs; the latter may be left out for Store alone.
type Config struct {
	Endpoints []string      // client URLs of members, this node's own among them
	TLS       *tls.Config   // nil: without
	Name      string        // of the member that this node runs (etcd --name)
	Self      string        // client URL of that member
	Peers     []string      // peer URLs of that member; needed by a node that leaves
	Spare     int           // how many of the others may be missing already: see quorum.View
	Try       time.Duration // for one call to one member; 0 is 2 s
}

// Cluster is an etcd cluster as one of its nodes uses it.
type Cluster struct {
	config Config
	client *clientv3.Client
}

// Open makes a client. Nothing is asked yet.
func Open(c Config) (*Cluster, error) {
	if len(c.Endpoints) == 0 {
		return nil, errors.New("open etcd: no client URLs are given")
	}
	if c.Try == 0 {
		c.Try = 2 * time.Second
	}
	client, err := connect(c, c.Endpoints)
	if err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	return &Cluster{c, client}, nil
}

// Close lets go of the connections.
func (c *Cluster) Close() error { return c.client.Close() }

func connect(c Config, endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: c.TLS, DialTimeout: c.Try, MaxUnaryRetries: 1,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: c.Try,
		Logger: quiet,
	})
}

// tried makes a call in tries until it succeeds, or ctx ends.
func (c *Cluster) tried(ctx context.Context, what string, call func(context.Context) error) error {
	last := error(nil)
	for tries := 1; ; tries++ {
		limited, cancel := context.WithTimeout(ctx, c.config.Try)
		err := call(limited)
		cancel()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // else it tells of the end of the time, and not why there was none
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: after %d tries: %w", what, tries, last)
		}
	}
}

// pause is between two tries.
const pause = 250 * time.Millisecond

// members lists the cluster's members, as a majority knows them.
func (c *Cluster) members(ctx context.Context) (found []*etcdserverpb.Member, err error) {
	err = c.tried(ctx, "list the members of etcd", func(ctx context.Context) error {
		r, err := c.client.MemberList(ctx)
		if err == nil {
			found = r.Members
		}
		return err
	})
	return found, err
}

// self is the member that this node runs.
func (c *Cluster) self(members []*etcdserverpb.Member) (*etcdserverpb.Member, error) {
	i := slices.IndexFunc(members, func(m *etcdserverpb.Member) bool { return m.Name == c.config.Name })
	if i < 0 {
		return nil, fmt.Errorf("etcd has no member %q: %w", c.config.Name, quorum.ErrNoMember)
	}
	return members[i], nil
}

// direct uses a client of one member alone.
func (c *Cluster) direct(urls []string, use func(*clientv3.Client) error) error {
	if len(urls) == 0 {
		return errors.New("it tells no client URL")
	}
	client, err := connect(c.config, urls)
	if err != nil {
		return err
	}
	return errors.Join(use(client), client.Close())
}
