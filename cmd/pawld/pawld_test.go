package main

import (
	"bytes"
	"context"
	"flag"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/client"
)

func TestCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		err  error
		text string
	}{
		"no disk":         {nil, errUsage, "want --disk DEVICE"},
		"an argument":     {[]string{"--disk", "d", "now"}, errUsage, "no arguments"},
		"an unknown flag": {[]string{"--fast"}, errUsage, "-fast"},
		"stuck on what":   {[]string{"--disk", "d", "--stuck", "cry"}, errUsage, "want reboot or undo"},
		"help":            {[]string{"--help"}, flag.ErrHelp, "-insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.ErrorIs(t, run(t.Context(), test.args, &out), test.err)
			require.Contains(t, out.String(), test.text)
		})
	}
}

func TestHooksThatCannotBeReadEndTheService(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"--disk", "d", "--hooks", filepath.Join(t.TempDir(), "none")}, &out)
	require.ErrorContains(t, err, "read hooks")
	err = run(t.Context(), []string{"--disk", "d", "--listen", "unix:" + filepath.Join(t.TempDir(), "s"), "--window", "1h"}, &out)
	require.ErrorContains(t, err, "does not fit a trial")
}

func TestListenIsRefusedWhereOthersCanReachIt(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"--disk", filepath.Join(t.TempDir(), "none"), "--listen", "0.0.0.0:0"}, &out)
	require.ErrorIs(t, err, node.ErrOpen)
	require.ErrorContains(t, err, "--insecure")
}

func TestAMachineWithADiskThatCannotBeOpenedStillAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--disk", "/nowhere", "--listen", address, "--listen", "127.0.0.1:0"}, &out)
	}()
	c, err := client.New(address)
	require.NoError(t, err)
	var version string
	for version == "" && len(ended) == 0 {
		if v, err := c.Version(t.Context()); err == nil {
			version = v.BootId
		}
	}
	_, err = c.Status(t.Context())
	require.ErrorContains(t, err, "/nowhere")
	cancel()
	require.NoError(t, <-ended)
}

func TestAnAddressThatCannotBeListenedOnIsLogged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--disk", "/nowhere", "--watchdog", "off", "--listen", address, "--listen", "0.0.0.0:0"}, &out)
	}()
	c, err := client.New(address)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := c.Version(t.Context()); return err == nil }, 5*time.Second, time.Millisecond, "the other one is served")
	require.Empty(t, ended)
	cancel()
	require.ErrorIs(t, <-ended, node.ErrOpen)
	require.Regexp(t, `level=ERROR msg=listen address=0\.0\.0\.0:0 reason=.*--insecure`, out.String())
}
