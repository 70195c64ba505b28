package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// pick restarts the computer into an entry that somebody picks in the loader's menu.
func (c *computer) pick(entry string) {
	c.stop()
	v := efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString(entry)}
	require.NoError(c.t, c.vars.Write(efivar.Loader("LoaderEntryOneShot"), v))
	c.on()
}

func TestChainABootThatNoAttemptOrdered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		order []string
		out   string
		stays string
	}{
		"a person confirms it": {[]string{"confirm"}, "node1: 1.0.0 in slot A is the default\n", "1.0.0 in A"},
		"a person goes back":   {[]string{"rollback", "--wait"}, "node1: boot boot-4: 2.0.0 in slot B", "2.0.0 in B"},
		"a person restarts it": {[]string{"reboot", "--wait"}, "node1: boot boot-4: 2.0.0 in slot B", "2.0.0 in B"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
			code, _, errs := l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--wait")
			require.Zero(t, code, errs)
			l.pick("pawl-a.conf")
			code, out, errs := l.order("status")
			require.Zero(t, code, errs)
			require.Contains(t, out, "node1: 1.0.0 in slot A, not confirmed, and ordered by no attempt (boot boot-3)\n")
			require.Regexp(t, `\n  unordered +the latest attempt is for slot B .*confirmed by itself`, out)
			_, out, _ = l.order("doctor")
			require.Contains(t, out, "no attempt ordered this boot")
			_, out, _ = l.order("events")
			require.Contains(t, out, "start: no attempt ordered this boot")
			code, _, errs = l.order("upgrade", "--image", l.push(software{version: "3.0.0"}))
			require.Equal(t, exitError, code)
			require.Contains(t, errs, "only a person can confirm it")
			require.Equal(t, "2.0.0 in B", l.next())

			code, out, errs = l.order(test.order...)
			require.Zero(t, code, errs)
			require.Contains(t, out, test.out)
			require.Equal(t, test.stays, l.next())
			code, _, errs = l.order("confirm")
			require.Equal(t, exitError, code)
			require.Contains(t, errs, "there is nothing to confirm")
		})
	}
}

func TestChainARollbackToWhatFellBackNeedsForce(t *testing.T) {
	t.Parallel()
	l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	code, _, _ := l.order("upgrade", "--image", l.push(software{version: "2.0.0", dies: true}), "--wait")
	require.Equal(t, exitFellBack, code)
	code, _, errs := l.order("rollback", "--wait")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "the version in the other slot never proved itself")
	require.Contains(t, errs, "force")
	code, _, errs = l.order("rollback", "--wait", "--force")
	require.Equal(t, exitFellBack, code, errs)
}
