package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/upgrade"
)

// RunOptions say how Run serves a node. The zero value works.
type RunOptions struct {
	Listen   []string // addresses, as Listen takes them; none: DefaultSocket
	Insecure bool     // they may be such that others can reach
	// by which clients call this node over TCP, beside its host name, its addresses and the hosts of Listen
	Names  []string
	Access access.Options // who is what
	Beside []Beside       // other APIs, served on the same listeners
	// Up brings the system up, once this boot is recorded and EPHEMERAL may be mounted. A trial is proved once it has
	// returned, and given up if it fails. Nil: there is nothing to do.
	Up func(context.Context, upgrade.Boot) error
}

// Run is the whole service of a node, in the right order: it listens, records the boot, brings the system up, proves a
// trial, and answers until ctx ends. Call it early, before EPHEMERAL is mounted. It returns earlier with the error of a
// configuration that cannot work, and when nothing answers any more.
//
// A version whose API cannot be reached is not confirmed, and a trial does not outlive Run: whatever ends it gives the
// trial up, with the reason. What else goes wrong is in the log and in the node's status, since the machine is more use
// with the API than without.
func Run(ctx context.Context, c node.Config, o RunOptions) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var unreachable error
	reachable := node.Check{Name: "listen", Own: true, Run: func(context.Context) error { return unreachable }}
	c.Checks = append(slices.Clone(c.Checks), reachable)
	if o.Access.Log == nil {
		o.Access.Log = c.Log
	}
	control, err := access.New(o.Access)
	if err != nil {
		node.EndTrial(c, err)
		return err
	}
	s, err := node.New(c)
	if err != nil {
		node.EndTrial(c, err)
		return err
	}
	defer s.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if len(o.Listen) == 0 {
		o.Listen = []string{DefaultSocket}
	}
	a := New(s, Options{Names: append(hosts(o.Listen), o.Names...), Log: c.Log, Access: control,
		Beside: o.Beside})
	listened, served := make(chan error, len(o.Listen)), make(chan error, len(o.Listen))
	for _, address := range o.Listen { // beside Start, which waits for no name to be resolved
		go func() { served <- a.listen(ctx, address, o.Insecure, listened) }()
	}
	defer s.GiveUp("the node service was stopped in its trial")
	boot, err := s.Start(ctx)
	if errors.Is(err, node.ErrConfig) && !boot.Trial {
		return err
	}
	for range o.Listen {
		unreachable = errors.Join(unreachable, <-listened)
	}
	if errors.Is(err, node.ErrRestarting) {
		<-ctx.Done() // nothing is to be started or mounted any more
	} else {
		if err != nil {
			c.Log.Error("start", "reason", err)
		}
		prove(ctx, s, c.Log, boot, o.Up)
	}
	var errs []error
	for range o.Listen {
		errs = append(errs, <-served)
	}
	return errors.Join(errs...)
}

func prove(ctx context.Context, s *node.Server, log *slog.Logger, boot upgrade.Boot,
	up func(context.Context, upgrade.Boot) error) {
	if up != nil {
		if err := up(ctx, boot); err != nil {
			log.Error("the system does not come up", "reason", err)
			if ctx.Err() == nil && s.GiveUp("the system does not come up: "+err.Error()) {
				return
			}
		}
	}
	if err := s.Prove(ctx); err != nil {
		log.Error("trial", "reason", err)
	}
}

// listen listens on an address, says on listened whether it does, and serves.
func (a *API) listen(ctx context.Context, address string, insecure bool, listened chan<- error) error {
	l, err := Listen(ctx, address, insecure || a.access.Secure())
	if err == nil {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			err = a.access.OpenSocket(path)
		} else {
			err = a.access.Ready()
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("listen on %s: %w", address, err), l.Close())
		}
	}
	listened <- err
	if err != nil {
		a.log.Error("listen", "address", address, "reason", err)
		return err
	}
	if l.Addr().Network() != "unix" {
		address = l.Addr().String() // with the port that was chosen for port 0
	}
	a.log.Info("listen", "address", address)
	return a.Serve(ctx, l)
}

// hosts are those that addresses of TCP name.
func hosts(addresses []string) (names []string) {
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil && !strings.HasPrefix(address, "unix:") {
			names = append(names, host)
		}
	}
	return names
}
