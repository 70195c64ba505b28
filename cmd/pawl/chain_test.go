package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// These tests are the whole way: this command, the API over a socket, the node service, package upgrade, a disk in a
// file, images from a registry; and a model for firmware and loader.

// order runs pawl against the lab's computer.
func (l *lab) order(args ...string) (code int, out, errs string) {
	return pawl(l.t, []string{l.address}, args...)
}

func TestChainUpgradeAndRollback(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"loopback": "127.0.0.1:0", "Unix socket": "unix:" + filepath.Join(t.TempDir(), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, address)
			two := l.push(software{version: "2.0.0", checks: []node.Check{{Name: "net",
				Run: func(context.Context) error { return nil }}}})

			code, out, errs := l.order("plan", "--image", two)
			require.Zero(t, code, errs)
			require.Contains(t, out, "node1: upgrade from 1.0.0 (slot A) to 2.0.0 (slot B)\n")

			code, out, errs = l.order("upgrade", "--image", two, "--wait")
			require.Zero(t, code, errs)
			require.Contains(t, out, "node1: armed: the next boot is the trial of 2.0.0 in slot B\n")
			require.Regexp(t, `node1: boot boot-2: 2\.0\.0 in slot B, confirmed\n$`, out)
			require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, l.history())
			require.Equal(t, "2.0.0 in B", l.next(), "it stays")
			a := l.status().Attempt
			require.Equal(t, attempt.Confirmed, a.Result)
			require.Equal(t, two, a.Reference)
			require.True(t, a.Wiped, "EPHEMERAL was not to be preserved")

			code, out, errs = l.order("doctor")
			require.Zero(t, code, errs)
			require.Regexp(t, `boot 1: slot B, 2\.0\.0: loader.conf names slot B\.`, out)
			require.NotContains(t, out, "degraded")

			code, out, errs = l.order("upgrade", "--image", two)
			require.Zero(t, code, errs)
			require.Contains(t, out, "node1: already: 2.0.0 runs in slot B, confirmed\n")

			code, out, errs = l.order("rollback", "--wait")
			require.Zero(t, code, errs)
			require.Regexp(t, `node1: boot boot-3: 1\.0\.0 in slot A, confirmed\n$`, out)
			require.Equal(t, "1.0.0 in A", l.next())

			code, out, errs = l.order("reboot", "--wait")
			require.Zero(t, code, errs)
			require.Contains(t, out, "boot boot-4: 1.0.0 in slot A")
		})
	}
}

func TestChainEveryBrokenVersionFallsBack(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	for name, test := range map[string]struct {
		software software
		reason   string
		bad      bool
	}{
		"it dies before it can say a word": {
			software{dies: true}, attempt.NotKnown, false,
		},
		"a check fails": {
			software{checks: []node.Check{{Name: "net",
				Run: func(context.Context) error { return errors.New("no route") }}}},
			`check "net": no route`, true,
		},
		"a check never answers": {
			software{checks: []node.Check{{Name: "net", Deadline: 300 * time.Millisecond,
				Run: func(context.Context) error { <-over; return nil }}}},
			`check "net": no answer after `, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "127.0.0.1:0")
			test.software.version = "2.0.0"
			two := l.push(test.software)
			code, out, errs := l.order("upgrade", "--image", two, "--wait")
			require.Equal(t, exitFellBack, code, "%s%s", out, errs)
			require.Contains(t, errs, "pawl: node1: fell back: 1.0.0 in slot A runs, not 2.0.0 in slot B; reason: ")
			require.Contains(t, errs, test.reason)
			require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial", "1.0.0 in A"}, l.history())
			require.Equal(t, "1.0.0 in A", l.next())
			st := l.status()
			require.Equal(t, attempt.FellBack, st.Attempt.Result)
			require.Equal(t, bootloader.A, st.Loader.Default)

			code, _, errs = l.order("upgrade", "--image", two, "--wait")
			if !test.bad {
				require.Equal(t, exitFellBack, code, "what is not known to be bad may be tried again")
				return
			}
			require.Equal(t, exitError, code)
			require.Contains(t, errs, "this image failed its trial before")
			code, out, _ = l.order("status")
			require.Zero(t, code)
			require.Regexp(t, `\n  bad +2\.0\.0 `, out)

			code, _, errs = l.order("upgrade", "--image", l.push(software{version: "3.0.0"}), "--wait")
			require.Zero(t, code, errs)
			require.Equal(t, "3.0.0 in B", l.next())
		})
	}
}

func TestChainWhatIsRefusedLeavesTheDiskAsItWas(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	before := l.sum()
	code, _, errs := l.order("upgrade", "--image", l.registry+"/os:nowhere", "--wait")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "no such image")
	require.Contains(t, errs, "os:nowhere")
	code, _, errs = l.order("rollback")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "the other slot holds nothing to go back to")
	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--tries", "10")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--tries 10: want 1 to 9")
	require.Equal(t, before, l.sum())
	require.Len(t, l.history(), 1)
}

func TestChainUpgradeNowAndRebootLater(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	two := l.push(software{version: "2.0.0"})
	code, _, errs := l.order("upgrade", "--image", two, "--reboot=false", "--preserve")
	require.Zero(t, code, errs)
	require.Len(t, l.history(), 1)
	code, out, _ := l.order("status")
	require.Zero(t, code)
	require.Contains(t, out, "armed for 1 boot(s) by LoaderEntryOneShot")

	code, out, errs = l.order("rollback", "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "the next boot is 1.0.0 in slot A")
	require.Len(t, l.history(), 1, "nothing was booted, so nothing restarts")
	require.Equal(t, "1.0.0 in A", l.next())

	code, _, errs = l.order("upgrade", "--image", two, "--reboot=false", "--preserve")
	require.Zero(t, code, errs)
	code, out, errs = l.order("reboot", "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "2.0.0 in slot B, confirmed")
	require.False(t, l.status().Attempt.Wiped)
}

func TestChainATrialGivenUpByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	over := make(chan struct{})
	defer close(over)
	two := l.push(software{version: "2.0.0", checks: []node.Check{{Name: "slow",
		Run: func(context.Context) error { <-over; return nil }}}})
	code, _, errs := l.order("upgrade", "--image", two)
	require.Zero(t, code, errs)
	require.Eventually(t, func() bool { return len(l.history()) == 2 }, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		code, _, errs = l.order("upgrade", "--image", two)
		return code == exitError
	}, 5*time.Second, 10*time.Millisecond)
	require.Contains(t, errs, "the running version is on trial")
	code, out, errs := l.order("rollback", "--wait")
	require.Zero(t, code, "%s%s", out, errs)
	require.Contains(t, out, "boot boot-3: 1.0.0 in slot A")
	require.Equal(t, attempt.Abandoned, l.status().Attempt.Result)
	require.Empty(t, l.status().KnownBad, "giving up by hand says nothing of the image")
}

// sum is the digest of the whole disk.
func (c *computer) sum() [32]byte {
	data, err := os.ReadFile(c.disk)
	require.NoError(c.t, err)
	return sha256.Sum256(data)
}
