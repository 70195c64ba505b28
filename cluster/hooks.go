// Package cluster has a node take part in the clusters that it belongs to while it is upgraded: it holds a lock that
// the nodes of a pool share, leaves etcd or is spared by it, is cordoned and drained, and undoes all that once it is
// back.
//
// Start with Hooks and Checks, for node.Config:
//
//	c := cluster.Config{Node: id, Lock: pool, Members: etcd, Work: kubernetes}
//	node.Config{Hooks: cluster.Hooks(c), Checks: cluster.Checks(c), Notes: c.Notes}
//
// What a node does without (no etcd on a worker, no Kubernetes) is left nil. The order, and what happens on an error
// and after a power cut, is package node's; this package only says what each phase is.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/quorum"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Members is the cluster whose members vote. etcd.Cluster is one.
type Members interface {
	Allow(ctx context.Context, leaves bool) error // why this node's member must not go now
	Foresee(context.Context) (string, error)      // what the upgrade puts at risk; empty: nothing
	Yield(context.Context) error                  // hands the lead to another voter
	Leave(context.Context) error                  // out of the list; again is no error
	Return(context.Context, Service) error        // back as a voter that serves, whatever is left of it
	Serves(context.Context) error                 // why it does not; quorum.ErrNoMember if it has left
	Hold(context.Context) error                   // before a trial, which may raise the version that all members share
	Held(context.Context) error                   // in a trial: that the version before could still join
	LetGo(context.Context) error                  // once it is over, one way or the other
}

// Service is the process of this node's member, which the system runs.
type Service interface {
	Stop(context.Context) error // and it has ended; one that runs no more is no error
	Wipe(context.Context) error // removes its data
	// Start starts it with no data, as a member that was added (--initial-cluster-state existing).
	Start(ctx context.Context, initialCluster string) error
}

// Work is what gives a node its work. kubernetes.Node is one.
type Work interface {
	Cordon(ctx context.Context, attempt string) error   // node.ErrAlready if it was cordoned by others
	Drain(ctx context.Context, tell func(string)) error // until nothing is left that is to go
	Restarts(ctx context.Context, why string)           // it goes down now; nothing depends on it
	// Uncordon undoes what Cordon did, and nothing else. outcome is what became of the attempt, for people.
	Uncordon(ctx context.Context, attempt, outcome string) error
	Ready(context.Context) error // why the node is not
}

// Config says what a node takes part in. Node is required.
type Config struct {
	Node    string        // an id that no other node has and that outlives restarts and upgrades; not a host name
	Lock    lock.Locker   // nil: none
	Members Members       // nil: it has no vote in anything
	Service Service       // nil: its member never leaves, and is away for the restart
	Work    Work          // nil: it is neither cordoned nor drained
	Wait    time.Duration // for a slot of the lock that others hold; 0: not at all
	Drain   time.Duration // how long a drain may take; 0 is DrainTime
	Log     *slog.Logger  // nil discards
}

// DrainTime is how long a drain may take that is not told.
const DrainTime = 10 * time.Minute

// Times of the other hooks.
const (
	askTime    = 30 * time.Second // to ask, or to write a step
	leaveTime  = 2 * time.Minute
	returnTime = 5 * time.Minute // a snapshot may have to be sent
	poll       = time.Second
)

func (c Config) owner(a attempt.Attempt) lock.Owner { return lock.Owner{Node: c.Node, Attempt: a.ID} }

// leaves reports whether the member is removed: its data does not outlive the upgrade. A rollback keeps it.
func (c Config) leaves(a attempt.Attempt) bool { return c.Service != nil && !a.Preserve }

// Hooks are what the node does around an upgrade.
func Hooks(c Config) (hooks []node.Hook) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Drain == 0 {
		c.Drain = DrainTime
	}
	add := func(p node.Phase, name string, deadline time.Duration, run func(context.Context, node.Occasion) error) {
		hooks = append(hooks, node.Hook{Phase: p, Name: name, Deadline: deadline, Run: run})
	}
	if c.Lock != nil {
		add(node.PhaseAllow, "lock", askTime, c.ask)
		add(node.PhaseLock, "lock", askTime+c.Wait, c.claim)
	}
	if c.Members != nil {
		add(node.PhaseAllow, "members", askTime, func(ctx context.Context, o node.Occasion) error {
			if err := c.Members.Allow(ctx, c.leaves(o.Attempt)); err != nil {
				return err
			}
			warning, err := c.Members.Foresee(ctx)
			if warning != "" && o.Tell != nil {
				o.Tell(warning)
			}
			return err
		})
	}
	if c.Work != nil {
		add(node.PhaseCordon, "work", askTime, c.cordon)
		add(node.PhaseDrain, "work", c.Drain, func(ctx context.Context, o node.Occasion) error {
			return c.Work.Drain(ctx, o.Tell)
		})
		add(node.PhaseUncordon, "work", askTime, c.uncordon)
	}
	add(node.PhaseDrain, "lock", askTime, func(ctx context.Context, o node.Occasion) error {
		return c.reach(ctx, o,
			lock.Drained)
	})
	add(node.PhaseLeave, "members", leaveTime, c.leave)
	add(node.PhaseLast, "lock", askTime, c.last)
	if c.Members != nil && c.Service != nil {
		add(node.PhaseRejoin, "members", returnTime, func(ctx context.Context, o node.Occasion) error {
			c.back(ctx, o)
			if o.Attempt.Result != attempt.Confirmed { // the version before comes back: the others have to take it
				if err := c.Members.Held(ctx); err != nil {
					return err
				}
			}
			return c.Members.Return(ctx, c.Service)
		})
	}
	add(node.PhaseUnlock, "lock", askTime, c.unlock)
	return hooks
}

// Checks are what has to hold before a trial is confirmed: the node's member serves, if it did not leave, and the
// node is ready for its work. What cannot be asked is asked again, until the trial's time is over.
func Checks(c Config) (checks []node.Check) {
	add := func(name string, ask func(context.Context) error) {
		checks = append(checks, node.Check{Name: name, Run: func(ctx context.Context) error { return until(ctx, ask) }})
	}
	if c.Members != nil {
		add("members", func(ctx context.Context) error {
			err := c.Members.Serves(ctx)
			if errors.Is(err, quorum.ErrNoMember) && c.Service != nil {
				return nil // it has left, and comes back once the trial is over
			}
			if err != nil {
				return err
			}
			return c.Members.Held(ctx)
		})
	}
	if c.Work != nil {
		add("work", c.Work.Ready)
	}
	return checks
}

// until asks until there is no error, or no time.
func until(ctx context.Context, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return err
		}
	}
}

func (c Config) ask(ctx context.Context, _ node.Occasion) error {
	return c.Lock.Ask(ctx, lock.Owner{Node: c.Node, Attempt: "planned"})
}

// claim takes a slot, or waits for one.
func (c Config) claim(ctx context.Context, o node.Occasion) error {
	waiting, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for told := ""; ; {
		err := c.Lock.Claim(ctx, c.owner(o.Attempt))
		held := new(lock.HeldError)
		if !errors.As(err, &held) {
			return err
		}
		if text := "waits: " + held.Error(); text != told && o.Tell != nil {
			o.Tell(text)
			told = text
		}
		select {
		case <-time.After(poll):
		case <-waiting.Done():
			return err
		}
	}
}

func (c Config) reach(ctx context.Context, o node.Occasion, s lock.Step) error {
	if c.Lock == nil {
		return nil
	}
	return c.Lock.Reach(ctx, c.owner(o.Attempt), s)
}

// leave looks at the members again, says that the node goes down, and only then goes: from there on nobody frees its
// slot on a person's word.
func (c Config) leave(ctx context.Context, o node.Occasion) error {
	leaves := c.leaves(o.Attempt)
	if c.Members != nil {
		if err := c.Members.Allow(ctx, leaves); err != nil {
			return err
		}
		if err := c.Members.Hold(ctx); err != nil {
			return err
		}
	}
	if err := c.reach(ctx, o, lock.Down); err != nil {
		return err
	}
	switch {
	case c.Members == nil:
		return node.ErrAlready // there is nothing to come back to
	case !leaves:
		if err := c.Members.Yield(ctx); err != nil {
			c.Log.Warn("the lead is not handed over", "reason", err) // the others find out that it is gone
		}
		return node.ErrAlready
	}
	if err := c.Members.Leave(ctx); err != nil {
		return err
	}
	if err := c.Service.Stop(ctx); err != nil {
		return fmt.Errorf("stop the member that was removed: %w", err)
	}
	return c.Service.Wipe(ctx)
}

// last is the fence: the slot is this node's still, and the others can spare it, in the same moment.
func (c Config) last(ctx context.Context, o node.Occasion) error {
	if c.Members != nil && !c.leaves(o.Attempt) {
		if err := c.Members.Allow(ctx, false); err != nil {
			return err
		}
	}
	if err := c.reach(ctx, o, lock.Down); err != nil {
		return err
	}
	c.restarts(ctx, o)
	return nil
}

// backTime bounds how long the step back is tried. It is for people: what follows does not wait for it.
const backTime = 5 * time.Second

func (c Config) back(ctx context.Context, o node.Occasion) {
	ctx, cancel := context.WithTimeout(ctx, backTime)
	defer cancel()
	if err := c.reach(ctx, o, lock.Back); err != nil && !errors.Is(err, lock.ErrLost) {
		c.Log.Warn("the lock is not told that the node is back", "reason", err)
	}
}

// unlock frees the slot once the node does all that it did before.
func (c Config) unlock(ctx context.Context, o node.Occasion) error {
	if c.Members != nil {
		if err := c.Members.LetGo(ctx); err != nil {
			return err
		}
		if err := c.Members.Serves(ctx); err != nil {
			return fmt.Errorf("the lock is kept: %w", err)
		}
	}
	if c.Work != nil {
		if err := c.Work.Ready(ctx); err != nil {
			return fmt.Errorf("the lock is kept: %w", err)
		}
	}
	if c.Lock == nil {
		return nil
	}
	return c.Lock.Release(ctx, c.owner(o.Attempt))
}
