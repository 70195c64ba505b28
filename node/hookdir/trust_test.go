package hookdir_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/hookdir"
)

// What others did after the service started is seen when it matters.
func TestAHookIsNotRunThatOthersCouldHaveChanged(t *testing.T) {
	for name, test := range map[string]struct {
		after func(t *testing.T, dir, hook string)
		says  string
	}{
		"it may be written by others": {func(t *testing.T, _, hook string) {
			require.NoError(t,
				os.Chmod(hook, 0o757))
		}, "10-x may be changed by others"},
		"its directory by the group": {func(t *testing.T, _, hook string) {
			require.NoError(t,
				os.Chmod(filepath.Dir(hook), 0o775))
		}, "drain may be changed by others"},
		"the directory of all hooks": {func(t *testing.T, dir, _ string) { require.NoError(t, os.Chmod(dir, 0o777)) },
			"may be changed by others"},
		"a directory like /tmp": {func(t *testing.T, _, hook string) {
			require.NoError(t, os.Chmod(filepath.Dir(hook), 0o777|os.ModeSticky))
		}, "drain may be changed by others"},
		"a directory above": {func(t *testing.T, dir, _ string) {
			require.NoError(t,
				os.Chmod(filepath.Dir(dir), 0o777))
		}, "may be changed by others"},
		"it is a link now, to where others write": {func(t *testing.T, dir, hook string) {
			free := filepath.Join(filepath.Dir(dir), "free")
			require.NoError(t, os.Mkdir(free, 0o777))
			require.NoError(t, os.Chmod(free, 0o777))
			require.NoError(t, os.Rename(hook, filepath.Join(free, "x")))
			require.NoError(t, os.Symlink("../../free/x", hook))
		}, "free may be changed by others"},
		"a link that ends nowhere": {func(t *testing.T, _, hook string) {
			require.NoError(t, os.Remove(hook))
			require.NoError(t, os.Symlink(hook, hook))
		}, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) { notRun(t, test.after, test.says) })
	}
}

// notRun does something to a hook that has run, which must not run after it.
func notRun(t *testing.T, after func(t *testing.T, dir, hook string), says string) {
	above := filepath.Join(t.TempDir(), "above")
	dir := filepath.Join(above, "hooks")
	ran := filepath.Join(t.TempDir(), "ran")
	hook := write(t, dir, "drain/10-x", "touch "+ran, 0o755)
	hooks, err := hookdir.Hooks(dir, hookdir.Options{})
	require.NoError(t, err)
	require.NoError(t, hooks[0].Run(t.Context(), node.Occasion{}))
	require.NoError(t, os.Remove(ran))
	after(t, dir, hook)
	err = hooks[0].Run(t.Context(), node.Occasion{})
	require.ErrorContains(t, err, says)
	require.NoFileExists(t, ran)
	if !strings.Contains(says, "levels") {
		require.ErrorIs(t, err, hookdir.ErrUntrusted)
	}
	_, err = hookdir.Hooks(dir, hookdir.Options{})
	require.Error(t, err, "a service that starts now says so at once")
}

func TestALinkToATrustedPlaceIsFollowed(t *testing.T) {
	place := t.TempDir()
	real := write(t, place, "x", "exit 0", 0o755)
	dir := filepath.Join(t.TempDir(), "hooks")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "drain"), 0o755))
	require.NoError(t, os.Symlink(real, filepath.Join(dir, "drain/10-x")))
	hooks, err := hookdir.Hooks(dir, hookdir.Options{})
	require.NoError(t, err)
	require.Len(t, hooks, 1)
	require.NoError(t, hooks[0].Run(t.Context(), node.Occasion{}))
}

func TestWhatAHookPrintsIsTextOfBoundedLength(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "drain/10-latin1", `printf 'Ger\344t nicht bereit\n'; exit 1`, 0o755)
	write(t, dir, "drain/20-cut", `head -c 4095 /dev/zero | tr '\0' x; printf 'ä\n'; exit 1`, 0o755)
	write(t, dir, "drain/30-much", `i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; exit 1`, 0o755)
	var log bytes.Buffer
	hooks, err := hookdir.Hooks(dir, hookdir.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	for n, want := range []string{"Ger\ufffdt nicht bereit", "exit status 1: ", "exit status 1: 2999"} {
		err := hooks[n].Run(t.Context(), node.Occasion{})
		require.ErrorContains(t, err, want)
		require.True(t, utf8.ValidString(err.Error()))
		require.Less(t, len(err.Error()), 5000)
	}
	require.Less(t, strings.Count(log.String(), "\n"), 1100)
	require.Contains(t, log.String(), "more lines than are logged")
}
