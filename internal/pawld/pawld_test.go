package pawld

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
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
			require.ErrorIs(t, daemon{}.run(t.Context(), test.args, &out), test.err)
			require.Contains(t, out.String(), test.text)
		})
	}
}

func TestHooksThatCannotBeReadEndTheService(t *testing.T) {
	var out bytes.Buffer
	err := daemon{}.run(t.Context(), []string{"--disk", "d", "--hooks", filepath.Join(t.TempDir(), "none")}, &out)
	require.ErrorContains(t, err, "read hooks")
	err = daemon{}.run(t.Context(), []string{"--disk", "d", "--listen", "unix:" + filepath.Join(t.TempDir(), "s"),
		"--window", "1h"}, &out)
	require.ErrorContains(t, err, "does not fit a trial")
}

func TestListenIsRefusedWhereOthersCanReachIt(t *testing.T) {
	var out bytes.Buffer
	err := daemon{}.run(t.Context(), []string{"--disk", filepath.Join(t.TempDir(), "none"), "--listen", "0.0.0.0:0"},
		&out)
	require.ErrorIs(t, err, api.ErrOpen)
	require.ErrorContains(t, err, "insecure opens it")
}

func TestCertificatesThatCannotBeReadLeaveTheSocketServed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	address := "unix:" + filepath.Join(dir, "s")
	var out synced
	ended := make(chan error, 1)
	go func() {
		ended <- daemon{}.run(ctx, []string{"--disk", "/nowhere", "--watchdog", "off", "--listen", address, "--listen",
			"0.0.0.0:0", "--tls-cert", filepath.Join(dir, "c"), "--tls-key", filepath.Join(dir, "k"), "--client-ca",
			filepath.Join(dir, "ca")}, &out)
	}()
	c, err := client.New(address)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := c.Version(t.Context()); return err == nil }, 5*time.Second,
		time.Millisecond, "the socket is served")
	cancel()
	require.ErrorIs(t, <-ended, os.ErrNotExist)
	require.Regexp(t, `level=ERROR msg=listen address=0\.0\.0\.0:0 reason=`, out.String())
}

func TestAMachineWithADiskThatCannotBeOpenedStillAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- daemon{}.run(ctx, []string{"--disk", "/nowhere", "--listen", address, "--listen", "127.0.0.1:0"}, &out)
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
		ended <- daemon{}.run(ctx, []string{"--disk", "/nowhere", "--watchdog", "off", "--listen", address, "--listen",
			"0.0.0.0:0"}, &out)
	}()
	c, err := client.New(address)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := c.Version(t.Context()); return err == nil }, 5*time.Second,
		time.Millisecond, "the other one is served")
	require.Empty(t, ended)
	cancel()
	require.ErrorIs(t, <-ended, api.ErrOpen)
	require.Regexp(t, `level=ERROR msg=listen address=0\.0\.0\.0:0 reason=.*insecure opens it`, out.String())
}

// onTrial is a machine in the trial of version 2.0.0, with its disk in a file.
func onTrial(t *testing.T) (d daemon, disk string, reboots chan string) {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	one, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	two, err := images.Image("2.0.0", virtual.Spec{})
	require.NoError(t, err)
	m, err := virtual.Install(t.Context(), one)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	_, err = m.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	raw := make([]byte, m.Disk.Size())
	_, err = m.Disk.ReadAt(raw, 0)
	require.NoError(t, err)
	disk = filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(disk, raw, 0o600))
	reboots = make(chan string, 10)
	return daemon{
		machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: m.Vars, Cmdline: &m.Last.Cmdline, BootID: m.BootID(),
			Version: "2.0.0"},
		reboot: func(_ context.Context, why string) error { reboots <- why; return nil },
	}, disk, reboots
}

func TestNothingEndsATrialWithoutGivingItUp(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "misspelt", "drian"), 0o755))
	for name, test := range map[string]struct {
		args []string
		why  string
	}{
		"an unknown flag":             {[]string{"--fast"}, "flag provided but not defined: -fast"},
		"an argument":                 {[]string{"now"}, "no arguments"},
		"a value that is none":        {[]string{"--window", "long"}, `invalid value "long"`},
		"stuck on what":               {[]string{"--stuck", "cry"}, "want reboot or undo"},
		"a way to try that is none":   {[]string{"--trial", "twice"}, `trial "twice"`},
		"a window that does not fit":  {[]string{"--window", "1h"}, "does not fit a trial"},
		"a negative time":             {[]string{"--let-go", "-1s"}, "-let-go"},
		"hooks that are not there":    {[]string{"--hooks", filepath.Join(dir, "none")}, "read hooks"},
		"a phase that is misspelt":    {[]string{"--hooks", filepath.Join(dir, "misspelt")}, "did you mean drain?"},
		"a partition that is not":     {[]string{"--unmount", "STATE,EPHEMERL"}, "did you mean EPHEMERAL?"},
		"a label that is none":        {[]string{"--label", "META"}, "want ROLE=LABEL"},
		"an address that is none":     {[]string{"--listen", "nonsense"}, `listen on "nonsense"`},
		"an address open to everyone": {[]string{"--listen", "0.0.0.0:0"}, "insecure opens it"},
		"it is stopped": {[]string{"--hooks", dir, "--trial-deadline", "1h"},
			"the node service was stopped in its trial"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, disk, reboots := onTrial(t)
			args := append([]string{"--disk", disk, "--watchdog", "off"}, test.args...)
			if test.args[0] != "--listen" {
				args = append([]string{"--listen", "unix:" + filepath.Join(t.TempDir(), "s")}, args...)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "it is stopped" {
				check := filepath.Join(t.TempDir(), "checks", "slow")
				require.NoError(t, os.MkdirAll(filepath.Dir(check), 0o755))
				require.NoError(t, os.WriteFile(check, []byte("#!/bin/sh\necho begun\nexec sleep 60\n"), 0o755))
				args = append(args, "--hooks", filepath.Dir(filepath.Dir(check)))
			}
			var out synced
			ended := make(chan error, 1)
			go func() { ended <- d.run(ctx, args, &out) }()
			if name == "it is stopped" {
				require.Eventually(t, func() bool { return strings.Contains(out.String(), "line=begun") },
					30*time.Second, time.Millisecond)
				cancel()
			}
			select {
			case why := <-reboots:
				require.Contains(t, why, test.why)
			case <-time.After(60 * time.Second):
				require.Fail(t, "no restart", out.String())
			}
			cancel()
			<-ended
			m, err := upgrade.Open(disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true,
				Vars: d.machine.Vars, Cmdline: d.machine.Cmdline, BootID: "x", Version: "x"})
			require.NoError(t, err)
			defer m.Close()
			st, err := m.Status()
			require.NoError(t, err)
			require.Contains(t, st.Attempt.Reason, test.why)
			require.Equal(t, bootloader.A, st.Loader.Default)
		})
	}
}

// A command line that is wrong elsewhere still says where META is.
func TestAWrongCommandLineGivesUpATrialOnADiskWithOtherLabels(t *testing.T) {
	d, disk, reboots := onTrial(t)
	raw, err := partition.Open(disk, partition.OpenOptions{})
	require.NoError(t, err)
	l, err := partition.Read(raw)
	require.NoError(t, err)
	l.Partitions[2].Label = "PAWL-META"
	require.NoError(t, partition.Apply(raw, l))
	require.NoError(t, raw.Close())
	err = d.run(t.Context(), []string{"--disk", disk, "--watchdog", "off", "--fast", "--label", "META=PAWL-META"},
		new(synced))
	require.ErrorIs(t, err, errUsage)
	require.Contains(t, <-reboots, "not defined: -fast")
}

// Outside of a trial the same ends the service with an error, and nothing restarts.
func TestAWrongConfigurationEndsTheServiceOutsideOfATrial(t *testing.T) {
	d, disk, reboots := onTrial(t)
	m, err := upgrade.Open(disk, d.machine)
	require.NoError(t, err)
	_, err = m.Confirm(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	for why, args := range map[string][]string{
		"did you mean EPHEMERAL?": {"--unmount", "EPHEMERL"}, "read hooks": {"--hooks", "/none"},
		"not defined": {"--fast"}, "does not fit": {"--window", "1h"},
	} {
		var out synced
		err := d.run(t.Context(), append([]string{"--disk", disk, "--watchdog", "off", "--listen",
			"unix:" + filepath.Join(t.TempDir(), "s")}, args...), &out)
		require.ErrorContains(t, err, why)
	}
	require.Empty(t, reboots)
}

// synced is a buffer for several writers.
type synced struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
