package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/cluster/lock"
)

func TestAPersonSeesWhoHoldsAPoolAndFreesIt(t *testing.T) {
	members := real.Members(t, 1)
	c, err := etcd.Open(etcd.Config{Endpoints: real.URLs(members)})
	require.NoError(t, err)
	defer c.Close()
	store, err := c.Store("workers")
	require.NoError(t, err)
	p := lock.Pool{Store: store, Name: "workers", Address: "10.0.0.7:7717"}
	do := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"--etcd", members[0].Client, "--pool", "workers", "--by", "ann"},
			args...), &out, &out)
		return out.String(), err
	}
	said, err := do("list")
	require.NoError(t, err)
	require.Equal(t, "pool workers: nobody holds it\n", said)
	o := lock.Owner{Node: "n1", Attempt: "a1"}
	require.NoError(t, p.Claim(t.Context(), o))
	require.NoError(t, p.Reach(t.Context(), o, lock.Down))
	said, err = do("list")
	require.NoError(t, err)
	require.Regexp(t,
		`^slot 0, version \d+: node n1 \(attempt a1\), step down since .*; pawl status --node 10.0.0.7:7717\n$`, said)
	version := regexp.MustCompile(`version (\d+)`).FindStringSubmatch(said)[1]
	_, err = do("--version", version, "release")
	require.ErrorIs(t, err, lock.ErrStands)
	_, err = do("--version", version+"0", "--machine-is-off", "it burnt", "release")
	require.ErrorIs(t, err, lock.ErrMoved)
	said, err = do("--version", version, "--machine-is-off", "it burnt", "release")
	require.NoError(t, err)
	require.Equal(t, "slot 0 of pool workers is free, as ann asked\n", said)
	for _, line := range []string{"", "list now", "free", "release", "--pool= list", "--fast list",
		"--kubernetes https://a list", "--pool-leases pawl list", "--pool-size 0 list"} {
		_, err := do(strings.Fields(line)...)
		require.ErrorIs(t, err, errUsage, line)
	}
}
