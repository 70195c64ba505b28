package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
)

func configured(t *testing.T, line string) (node.Config, error) {
	t.Helper()
	flags := flag.NewFlagSet("pawld", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	configure := part(flags)
	require.NoError(t, flags.Parse(strings.Fields(line)))
	var c node.Config
	return c, configure(&c)
}

func TestWrongFlagsSayWhatIsMissing(t *testing.T) {
	const member = "--etcd http://10.0.0.1:2379 --etcd-name m1 --etcd-self http://10.0.0.1:2379 "
	for line, says := range map[string]string{
		"--pool p --fleetlock http://a --node-id n": "not both",
		"--pool p --node-id n":                      "where is it kept?",
		"--pool p " + member:                        "--node-id",
		"--pool P --node-id n " + member:            `pool "P": want`,
		"--pool-size 0":                             "want 1 or more",
		"--pool-wait -1s":                           "want 0 to",
		"--drain-time 0":                            "want 1s to",
		"--drain-force":                             "needs --kubernetes",
		"--etcd-spare -1":                           "want 0 or more",
		"--etcd-name m1":                            "without --etcd",
		"--etcd http://10.0.0.1:2379":               "--etcd-name and --etcd-self",
		"--etcd-service /bin/true " + member:        "--etcd-peers",
		"--etcd-peers http://a --etcd-service /nowhere " + member:             "/nowhere",
		"--etcd-peers http://a --etcd-service /etc/passwd " + member:          "want the full path of an executable",
		"--etcd-cert /x " + member:                                            "belong together",
		"--etcd 10.0.0.1:2379 --etcd-name m1 --etcd-self http://a":            "is no URL such as",
		"--etcd-ca /nowhere " + member:                                        "/nowhere",
		"--kubernetes https://10.0.0.1:6443":                                  "--kubernetes-node",
		"--pool p --node-id n --pool-leases pawl":                             "needs --kubernetes",
		"--kubernetes https://a --kubernetes-node w --kubernetes-ca /nowhere": "/nowhere",
	} {
		_, err := configured(t, line)
		require.ErrorContains(t, err, says, line)
	}
}

func TestWhatIsNotToldIsNotTakenPartIn(t *testing.T) {
	c, err := configured(t, "")
	require.NoError(t, err)
	require.Empty(t, c.Hooks)
	c, err = configured(t, "--kubernetes https://a --kubernetes-node w --pool p --pool-leases pawl --node-id n "+
		"--etcd http://b --etcd-name m --etcd-self http://b")
	require.NoError(t, err)
	require.Len(t, c.Checks, 2)
	require.NotNil(t, c.Notes)
	phases := map[node.Phase]bool{}
	for _, h := range c.Hooks {
		phases[h.Phase] = true
	}
	for _, p := range []node.Phase{node.PhaseAllow, node.PhaseLock, node.PhaseCordon, node.PhaseDrain,
		node.PhaseLeave, node.PhaseLast, node.PhaseUncordon, node.PhaseUnlock} {
		require.True(t, phases[p], p)
	}
}

func TestAServiceThatFailsSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd-service")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n[ \"$1 $2\" = 'start a=b' ] || { echo no such unit; "+
		"exit 3; }\n"), 0o755))
	require.NoError(t, program(path).Start(t.Context(), "a=b"))
	require.ErrorContains(t, program(path).Stop(t.Context()), `stop: exit status 3: "no such unit"`)
}
