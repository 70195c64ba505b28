package hookdir_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/hookdir"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// write makes an executable in a directory of hooks.
func write(t *testing.T, dir, name, script string, mode os.FileMode) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	// or a process that another test starts holds it open for writing, so that it cannot be run
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func TestHooksInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "drain/20-second", "exit 0", 0o755)
	write(t, dir, "drain/10-first", "exit 0", 0o700)
	write(t, dir, "drain/README", "exit 1", 0o644)
	write(t, dir, "drain/.hidden", "exit 1", 0o755)
	write(t, dir, "uncordon/10-kubectl", "exit 0", 0o755)
	write(t, dir, "checks/50-network", "exit 0", 0o755)
	hooks, err := hookdir.Hooks(dir, hookdir.Options{})
	require.NoError(t, err)
	var names []string
	for _, h := range hooks {
		names = append(names, string(h.Phase)+" "+h.Name)
		require.Equal(t, node.HookDeadline, h.Deadline)
	}
	require.Equal(t, []string{"drain 10-first", "drain 20-second", "uncordon 10-kubectl"}, names)
	checks, err := hookdir.Checks(dir, hookdir.Options{})
	require.NoError(t, err)
	require.Len(t, checks, 1)
	require.NoError(t, checks[0].Run(t.Context()))
}

func TestAnExecutableStatesItsOwnDeadline(t *testing.T) {
	dir := t.TempDir()
	for name, deadline := range map[string]string{"drain/10-pods": "10m\n", "checks/50-network": "90s"} {
		file := write(t, dir, name, "exit 0", 0o755)
		require.NoError(t, os.WriteFile(file+".deadline", []byte(deadline), 0o644))
	}
	write(t, dir, "drain/20-second", "exit 0", 0o755)
	hooks, err := hookdir.Hooks(dir, hookdir.Options{Deadline: time.Second})
	require.NoError(t, err)
	require.Len(t, hooks, 2)
	require.Equal(t, []time.Duration{10 * time.Minute, time.Second}, []time.Duration{hooks[0].Deadline,
		hooks[1].Deadline})
	checks, err := hookdir.Checks(dir, hookdir.Options{})
	require.NoError(t, err)
	require.Len(t, checks, 1)
	require.Equal(t, 90*time.Second, checks[0].Deadline)

	file := filepath.Join(dir, "drain", "10-pods.deadline")
	for _, wrong := range []string{"", "soon", "0s", "-1m", "10", "1m" + strings.Repeat(" ", 100)} {
		require.NoError(t, os.WriteFile(file, []byte(wrong), 0o644))
		_, err = hookdir.Hooks(dir, hookdir.Options{})
		require.ErrorContains(t, err, "is no deadline", "%q", wrong)
	}
	require.NoError(t, os.Chmod(file, 0o666))
	_, err = hookdir.Hooks(dir, hookdir.Options{})
	require.ErrorIs(t, err, hookdir.ErrUntrusted)
	require.NoError(t, os.Rename(file, filepath.Join(dir, "drain", "10-podz.deadline")))
	_, err = hookdir.Hooks(dir, hookdir.Options{})
	require.ErrorContains(t, err, "is the deadline of nothing")
}

func TestWhatWouldNotDoWhatItSeemsToIsRefused(t *testing.T) {
	_, err := hookdir.Hooks(filepath.Join(t.TempDir(), "none"), hookdir.Options{})
	require.Error(t, err)
	dir := t.TempDir()
	write(t, dir, "drian/10-pods", "exit 0", 0o755)
	_, err = hookdir.Hooks(dir, hookdir.Options{})
	require.ErrorContains(t, err, "drian is no phase")
	dir = t.TempDir()
	write(t, dir, "drain/10-pods", "exit 0", 0o777)
	_, err = hookdir.Hooks(dir, hookdir.Options{})
	require.ErrorContains(t, err, "chmod go-w")
}

func TestAnExecutableIsToldWhatItIsFor(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	write(t, dir, "cordon/10-x", `read line; echo "got $line"; echo done >&2`, 0o755)
	hooks, err := hookdir.Hooks(dir, hookdir.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	o := node.Occasion{Phase: node.PhaseCordon, Operation: "upgrade to os:2", BootID: "b",
		Attempt: attempt.Attempt{ID: "a", Version: "2"}, Sure: true}
	require.NoError(t, hooks[0].Run(t.Context(), o))
	for _, want := range []string{`\"phase\":\"cordon\"`, `\"sure\":true`, `\"version\":\"2\"`, "line=done", "10-x"} {
		require.Contains(t, log.String(), want)
	}
}

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		is     error
		text   string
	}{
		"success":                   {"exit 0", nil, ""},
		"already":                   {"exit 10", node.ErrAlready, ""},
		"failure, with its reason":  {"echo it burns; exit 1", nil, "exit status 1: it burns"},
		"failure, without a word":   {"exit 3", nil, "exit status 3"},
		"too long, with a child":    {"sleep 60 & sleep 60", context.DeadlineExceeded, "killed, for it took too long"},
		"a child that stays behind": {"sleep 60 & exit 0", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "drain/10-x", test.script, 0o755)
			hooks, err := hookdir.Hooks(dir, hookdir.Options{})
			require.NoError(t, err)
			limit := time.Minute
			if test.is == context.DeadlineExceeded {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begun := time.Now()
			err = hooks[0].Run(ctx, node.Occasion{})
			require.Less(t, time.Since(begun), 10*time.Second)
			if test.is == nil && test.text == "" {
				require.NoError(t, err)
				return
			}
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.ErrorContains(t, err, test.text)
		})
	}
}
