package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/versions"
)

func TestChainVersionPolicy(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	before := l.sum()
	code, _, errs := l.order("upgrade", "--image", l.push(software{version: "1.2.4"}))
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "upgrade to the latest 1.0, then to the latest 1.1, then to 1.2.4; or force")
	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "0.9.0"}))
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "0.9.0 is lower than 1.0.0")
	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "2.0.0",
		annotations: map[string]string{versions.FromAnnotation: "1.1.0"}}))
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "upgrade to 1.1.0 first, then to 2.0.0")

	wants := l.push(software{version: "1.1.0", annotations: map[string]string{versions.ClientAnnotation: "1.2.0"}})
	c, err := client.New(l.address)
	require.NoError(t, err)
	_, err = c.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: wants, Client: "v1.1.9"}, nil)
	require.Equal(t, "policy", client.ErrorKind(err))
	require.ErrorContains(t, err, "the image wants pawl 1.2.0 or later, this is v1.1.9")
	require.Equal(t, before, l.sum(), "nothing was changed")

	_, err = c.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: wants, Client: "v1.2.0"}, nil)
	require.NoError(t, err)
	code, out, errs := l.order("plan", "--image", l.registry+"/os:1.2.4", "--force")
	require.Zero(t, code, errs)
	require.Contains(t, out, "warning: 1.0.0 to 1.2.4 is 2 minor versions")
}

func TestChainTheRunningVersionSetsItsWindow(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	three, four := l.push(software{version: "1.3.0"}), l.push(software{version: "1.4.0"})
	l.stop()
	l.release = filepath.Join(t.TempDir(), "os-release")
	require.NoError(t, os.WriteFile(l.release, []byte("ID=x\nVERSION_ID=1.0.0\n"+versions.MinorSteps+"=3\n"), 0o644))
	l.on()
	code, _, errs := l.order("plan", "--image", four)
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "at most 3 at once")
	require.Contains(t, errs, "upgrade to the latest 1.0, then to the latest 1.3, then to 1.4.0")
	code, _, errs = l.order("plan", "--image", three)
	require.Zero(t, code, errs)
}

func TestChainAWindowThatIsNoNumberIsSaid(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	next := l.push(software{version: "1.1.0"})
	l.stop()
	l.release = filepath.Join(t.TempDir(), "os-release")
	require.NoError(t, os.WriteFile(l.release, []byte("ID=x\nVERSION_ID=1.0.0\n"+versions.MinorSteps+"=three\n"),
		0o644))
	l.on()
	code, out, errs := l.order("plan", "--image", next)
	require.Zero(t, code, errs)
	require.Contains(t, out, `PAWL_MINOR_STEPS="three" in the os-release is no number of minor versions: one at once is allowed.`)
}

func TestChainAClientWhoseVersionIsNotKnownIsSaid(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	wants := l.push(software{version: "1.1.0", annotations: map[string]string{versions.ClientAnnotation: "1.2.0"}})
	c, err := client.New(l.address)
	require.NoError(t, err)
	var warnings []string
	_, err = c.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: wants, Client: "(devel)"}, func(e *pawlv1.Event) {
		warnings = append(warnings, e.GetPlan().GetWarnings()...)
	})
	require.NoError(t, err)
	require.Contains(t, warnings, `The image wants pawl 1.2.0 or later, and the version of the one that asks, "(devel)", cannot be compared.`)
}
