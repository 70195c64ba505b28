package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pawl-os/pawl/cluster"
)

// Return brings this node's member back, whatever is left of it: one that votes has to serve; one that has left, or
// never started since it was added, is wiped, added and started as a learner; and a learner is promoted. A learner
// that does not come so far in half of the time is removed, so that the next try begins anew: it would keep any other
// from joining.
func (c *Cluster) Return(ctx context.Context, s cluster.Service) error {
	members, err := c.members(ctx)
	if err != nil {
		return fmt.Errorf("return to etcd: %w", err)
	}
	self, err := c.self(members)
	if err == nil && !self.IsLearner {
		return c.tried(ctx, "return to etcd", c.Serves)
	}
	if err != nil {
		for _, step := range []func(context.Context) error{s.Stop, s.Wipe} {
			if err := step(ctx); err != nil {
				return fmt.Errorf("return to etcd: %w", err)
			}
		}
		initial, err := c.Join(ctx)
		if err != nil {
			return err
		}
		// While the version is held nobody can join at it. From here on it is not raised either: a member has been added
		// whose version is not known.
		if was, err := c.noted(ctx); err != nil {
			return err
		} else if was != "" {
			if err := c.release(ctx); err != nil {
				return fmt.Errorf("return to etcd: %w", err)
			}
		}
		if err := s.Start(ctx, initial); err != nil {
			return fmt.Errorf("return to etcd: %w", err)
		}
	}
	half, cancel := halfOf(ctx)
	defer cancel()
	if err := c.Promote(half); err != nil {
		return errors.Join(err, c.giveUp(ctx))
	}
	return c.tried(ctx, "return to etcd", c.Serves)
}

// halfOf is a context that has half of the time.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// giveUp removes this node's learner.
func (c *Cluster) giveUp(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.IsLearner && (m.Name == c.config.Name || c.added(m)) {
			return c.remove(ctx, m, members)
		}
	}
	return nil
}

// Join adds this node's member as a learner, and returns what etcd's flag --initial-cluster has to be, with
// --initial-cluster-state existing and an empty directory of data. One that was added before and has not started is
// found again; one that has started, or is a voter, is ErrIsMember.
func (c *Cluster) Join(ctx context.Context) (initial string, err error) {
	peerURLs := c.config.Peers
	if len(peerURLs) == 0 {
		return "", errors.New("join etcd: which peer URLs does this node's member have?")
	}
	for {
		members, err := c.members(ctx)
		if err != nil {
			return "", fmt.Errorf("join etcd: %w", err)
		}
		switch {
		case slices.ContainsFunc(members, c.added):
			return c.initial(members), nil
		case slices.ContainsFunc(members, func(m *etcdserverpb.Member) bool { return m.Name == c.config.Name }):
			return "", fmt.Errorf("join etcd: %w", ErrIsMember)
		}
		limited, cancel := context.WithTimeout(ctx, c.config.Try)
		_, err = c.client.MemberAddAsLearner(limited, peerURLs)
		cancel()
		if err != nil && ctx.Err() != nil {
			return "", fmt.Errorf("join etcd: %w (another member that is a learner has to be promoted or removed "+
				"first)", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// ErrIsMember is returned by Join for a node that is a member already. Do: start it with its data, or remove it.
var ErrIsMember = errors.New("this node is a member already")

// added reports whether a member is this node's, and has never started.
func (c *Cluster) added(m *etcdserverpb.Member) bool {
	return m.Name == "" && slices.Equal(m.PeerURLs, c.config.Peers)
}

func (c *Cluster) initial(members []*etcdserverpb.Member) string {
	var all []string
	for _, m := range members {
		name := m.Name
		if c.added(m) {
			name = c.config.Name
		}
		for _, u := range m.PeerURLs {
			all = append(all, name+"="+u)
		}
	}
	return strings.Join(all, ",")
}

// Promote makes this node's learner a voter, once it has caught up, which it is asked for until ctx ends. Voters are
// asked alone: a learner cannot answer. A member that votes already is no error.
func (c *Cluster) Promote(ctx context.Context) error {
	return c.tried(ctx, "promote this node's member of etcd", func(ctx context.Context) error {
		r, err := c.client.MemberList(ctx)
		if err != nil {
			return err
		}
		self, err := c.self(r.Members)
		if err != nil || !self.IsLearner {
			return err // one that has not started has no name yet
		}
		var voters []string
		for _, m := range r.Members {
			if !m.IsLearner {
				voters = append(voters, m.ClientURLs...)
			}
		}
		return c.direct(voters, func(client *clientv3.Client) error {
			_, err := client.MemberPromote(ctx, self.ID)
			if errors.Is(err, rpctypes.ErrMemberNotLearner) {
				return nil
			}
			return err
		})
	})
}
