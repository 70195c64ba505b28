//go:build long

package etcd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/real"
)

// lastAtOlder is a cluster whose last member runs an older etcd than the others.
func lastAtOlder(t *testing.T) (c *etcd.Cluster, members []*real.Member, older, newer string) {
	t.Helper()
	members = real.Members(t, 3)
	older, err := real.Etcd(t.Context(), real.Older)
	require.NoError(t, err)
	newer = members[0].Binary
	for _, m := range members { // a new cluster would be of the newer version at once
		m.Kill()
	}
	for _, m := range members {
		require.NoError(t, m.Forget())
		m.Binary = older
		m.Start()
	}
	c = open(t, members, 2)
	eventually(t, func() error { return c.Allow(t.Context(), false) })
	require.NoError(t, c.Hold(within(t, 20*time.Second)), "it is not the last")
	require.NoError(t, c.Held(within(t, 20*time.Second)), "so nothing is held")
	warning, err := c.Foresee(within(t, 20*time.Second))
	require.NoError(t, err)
	require.Empty(t, warning)
	restart(members[0], newer)
	restart(members[1], newer)
	eventually(t, func() error { return c.Allow(t.Context(), false) })
	warning, err = c.Foresee(within(t, 20*time.Second))
	require.NoError(t, err)
	require.Contains(t, warning, "This is the last member that runs etcd 3.6.")
	require.NoError(t, c.Hold(within(t, 20*time.Second)))
	return c, members, older, newer
}

func restart(m *real.Member, binary string) {
	m.Kill()
	m.Binary = binary
	m.Start()
	m.Ready()
}

// service is the process of a member.
type service struct{ *real.Member }

func (s service) Stop(context.Context) error                    { s.Kill(); return nil }
func (s service) Wipe(context.Context) error                    { return s.Forget() }
func (s service) Start(_ context.Context, initial string) error { s.Join(initial); return nil }

// One that has left is no member when the others raise the version: they are held without it.
func TestTheLastMemberThatLeavesKeepsItsWayBack(t *testing.T) {
	c, members, older, _ := lastAtOlder(t)
	last := members[2]
	require.NoError(t, c.Leave(within(t, time.Minute)))
	require.Zero(t, last.Ended())
	require.NoError(t, c.Held(within(t, time.Minute)), "the way back begins with it")
	last.Binary = older
	require.NoError(t, c.Return(within(t, 2*time.Minute), service{last}), last.Log())
	eventually(t, func() error { return c.Serves(t.Context()) })
	require.NoError(t, c.LetGo(within(t, 20*time.Second)))
}

// TestTheLastMembersTrialKeepsItsWayBack: etcd of a minor version less cannot start any more once the last member has
// started a newer one, unless the cluster is made to go back to the version before. It takes
// a minute, and three etcd that nothing holds up, so `make cluster` runs it.
func TestTheLastMembersTrialKeepsItsWayBack(t *testing.T) {
	c, members, older, newer := lastAtOlder(t)
	restart(members[2], newer)
	eventually(t, func() error { return c.Serves(t.Context()) })
	require.NoError(t, c.Held(within(t, time.Minute)))
	restart(members[2], older)
	eventually(t, func() error { return c.Serves(t.Context()) })
	require.NoError(t, c.LetGo(within(t, 20*time.Second)))
	require.NoError(t, c.LetGo(within(t, 20*time.Second)), "again, after a restart of the service")

	require.NoError(t, c.Hold(within(t, 20*time.Second)))
	restart(members[2], newer)
	eventually(t, func() error { return c.Serves(t.Context()) })
	require.NoError(t, c.Held(within(t, time.Minute)))
	require.NoError(t, c.LetGo(within(t, 20*time.Second)), "confirmed")
	eventually(t, func() error { // what happens to a way back that nobody holds
		members[2].Kill()
		members[2].Binary = older
		members[2].Start()
		select {
		case <-members[2].Gone():
			return nil
		case <-time.After(3 * time.Second):
			members[2].Kill()
			members[2].Binary = newer
			members[2].Start()
			time.Sleep(5 * time.Second) // the leader looks every 5 s
			return errors.New("it starts still")
		}
	})
	require.Contains(t, members[2].Log(), "server version is lower than determined cluster version")
}
