package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pawl-os/pawl/cluster/quorum"
)

var quiet = zap.NewNop()

// Allow returns why this node's member must not go now: quorum.ErrNotNow, or that the cluster could not be asked. Every
// other voter is asked on its own client URL for a read that a majority has to agree to: what etcd itself takes for
// healthy may have been paused for seconds.
func (c *Cluster) Allow(ctx context.Context, leaves bool) error {
	view, err := c.view(ctx)
	if err != nil {
		return err
	}
	view.Leaves = leaves
	return quorum.Allow(view)
}

func (c *Cluster) view(ctx context.Context) (view quorum.View, err error) {
	members, err := c.members(ctx)
	if err != nil {
		return view, err
	}
	view.Spare = c.config.Spare
	ill := c.ask(ctx, members)
	for i, m := range members {
		view.Members = append(view.Members, quorum.Member{Name: m.Name, Learner: m.IsLearner,
			Self: m.Name == c.config.Name, Ill: ill[i]})
	}
	err = c.tried(ctx, "ask etcd for alarms", func(ctx context.Context) error {
		r, err := c.client.AlarmList(ctx)
		if err != nil {
			return err
		}
		for _, a := range r.Alarms {
			view.Alarms = append(view.Alarms, a.Alarm.String())
		}
		return nil
	})
	return view, err
}

// ask asks all members but this node's at once, and says of each why it does not count as healthy.
func (c *Cluster) ask(ctx context.Context, members []*etcdserverpb.Member) (ill []string) {
	ill = make([]string, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		switch {
		case m.Name == c.config.Name:
		case m.Name == "" || m.IsLearner:
			ill[i] = "it has no vote"
		default:
			asked.Go(func() {
				if err := c.reads(ctx, m); err != nil {
					ill[i] = err.Error()
				}
			})
		}
	}
	asked.Wait()
	return ill
}

// reads has a member do a linearizable read, on its own client URL and in time.
func (c *Cluster) reads(ctx context.Context, m *etcdserverpb.Member) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Try)
	defer cancel()
	return c.direct(m.ClientURLs, func(client *clientv3.Client) error {
		_, err := client.Get(ctx, prefix, clientv3.WithLimit(1), clientv3.WithKeysOnly())
		return err
	})
}

// Serves returns why this node's own member does not serve, or nil: it is a voter, and reads what a majority agrees to.
func (c *Cluster) Serves(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	self, err := c.self(members)
	if err != nil {
		return err
	}
	if self.IsLearner {
		return fmt.Errorf("etcd member %q is a learner still", self.Name)
	}
	self.ClientURLs = []string{c.config.Self}
	if err := c.reads(ctx, self); err != nil {
		return fmt.Errorf("read from etcd member %q: %w", self.Name, err)
	}
	return nil
}

// Yield hands the lead to another voter, if this node's member has it. So the cluster need not find out that it is
// gone.
func (c *Cluster) Yield(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	self, err := c.self(members)
	if err != nil || len(members) == 1 {
		return err
	}
	ill := c.ask(ctx, members)
	return c.direct([]string{c.config.Self}, func(client *clientv3.Client) error { // only the leader can
		return c.tried(ctx, "hand over the lead of etcd", func(ctx context.Context) error {
			status, err := client.Status(ctx, c.config.Self)
			if err != nil || status.Leader != self.ID {
				return err
			}
			errs := []error{errors.New("no other voter takes it")}
			for i, m := range members {
				if m.ID == self.ID || ill[i] != "" { // a learner would be refused
					continue
				}
				_, err := client.MoveLeader(ctx, m.ID)
				if err == nil {
					return nil
				}
				errs = append(errs, fmt.Errorf("to %s: %w", m.Name, err))
			}
			return errors.Join(errs...)
		})
	})
}

// Leave removes this node's member, through the others, and returns once it is out of the list. It looks again
// whether the others can do without, at the last moment. The member's process then ends by itself, with exit status
// 0, and its data is of no more use. A member that is out already is no error.
func (c *Cluster) Leave(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return fmt.Errorf("leave etcd: %w", err)
	}
	self, err := c.self(members)
	if errors.Is(err, quorum.ErrNoMember) {
		return nil
	}
	for _, step := range []func() error{
		func() error { return c.Allow(ctx, true) },
		func() error { return c.Yield(ctx) },
		func() error { return c.Allow(ctx, true) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("leave etcd: %w", err)
		}
	}
	return c.remove(ctx, self, members)
}

// remove takes a member out of the list, through others than itself.
func (c *Cluster) remove(ctx context.Context, gone *etcdserverpb.Member, members []*etcdserverpb.Member) error {
	var others []string
	for _, m := range members {
		if m.ID != gone.ID && !m.IsLearner {
			others = append(others, m.ClientURLs...)
		}
	}
	err := c.direct(others, func(client *clientv3.Client) error {
		return c.tried(ctx, "remove it", func(ctx context.Context) error {
			_, err := client.MemberRemove(ctx, gone.ID)
			if errors.Is(err, rpctypes.ErrMemberNotFound) { // the answer to an earlier try was lost
				return nil
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("leave etcd: member %x: %w", gone.ID, err)
	}
	return nil
}
