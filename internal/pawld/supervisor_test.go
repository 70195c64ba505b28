package pawld

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manager is a service manager that listens.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	env  map[string]string
}

func newManager(t *testing.T, usec string) *manager {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return &manager{t, c, map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": usec,
		"WATCHDOG_PID": strconv.Itoa(os.Getpid())}}
}

func (m *manager) getenv(name string) string { return m.env[name] }

// hears waits for what is said next.
func (m *manager) hears() string {
	b := make([]byte, 4096)
	require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	n, err := m.conn.Read(b)
	require.NoError(m.t, err)
	return string(b[:n])
}

func TestTheServiceManagerIsToldAndFedWhileTheServiceAnswers(t *testing.T) {
	m := newManager(t, "40000")
	ctx, cancel := context.WithCancel(t.Context())
	reload := make(chan os.Signal)
	path := filepath.Join(t.TempDir(), "s")
	config := file(t, "disk: /nowhere\nlisten: unix:"+path+"\nwatchdog: \"off\"\n")
	var out synced
	ended := make(chan error, 1)
	go func() {
		ended <- daemon{getenv: m.getenv, reload: reload}.run(ctx, []string{"--config", config}, &out)
	}()
	require.True(t, strings.HasPrefix(m.hears(), "READY=1\n"))
	require.FileExists(t, path, "it listens by then")
	require.Equal(t, "WATCHDOG=1", m.hears())
	require.Equal(t, "WATCHDOG=1", m.hears())

	t.Run("the settings are read again", func(t *testing.T) {
		require.NoError(t, os.WriteFile(config, []byte("disk: /nowhere\nlisten: unix:"+path+"2\nwindow: 1m\nwatchdog: \"off\"\n"+
			"log-level: debug\n"), 0o600))
		reload <- syscall.SIGHUP
		require.Eventually(t, func() bool {
			return strings.Contains(out.String(), `msg="the settings are read again" log-level=DEBUG after-a-restart=listen,window`)
		}, 5*time.Second, time.Millisecond, out.String())
		require.NoError(t, os.WriteFile(config, []byte("disk: /nowhere\nlisen: x\n"), 0o600))
		reload <- syscall.SIGHUP
		require.Eventually(t, func() bool {
			return strings.Contains(out.String(), `level=WARN msg="the new settings are not used; the old ones are" reason="`)
		}, 5*time.Second, time.Millisecond)
		require.Contains(t, out.String(), "did you mean listen?")
		require.Equal(t, "WATCHDOG=1", m.hears(), "it goes on")
	})
	t.Run("a socket on which nothing answers", func(t *testing.T) {
		require.NoError(t, os.Rename(path, path+"-gone"))
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "watchdog is not fed") }, 5*time.Second,
			time.Millisecond)
		require.NoError(t, os.Rename(path+"-gone", path))
	})
	cancel()
	require.NoError(t, <-ended)
	for text := m.hears(); text != "STOPPING=1"; text = m.hears() {
		require.Equal(t, "WATCHDOG=1", text)
	}
}

func TestWhatAServiceManagerSays(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for name, test := range map[string]struct {
		usec, pid string
		every     time.Duration
	}{
		"nothing": {}, "no number": {usec: "x"}, "none": {usec: "0"}, "less": {usec: "-5"},
		"another's":  {usec: "4000000", pid: "1"},
		"ours":       {usec: "4000000", pid: strconv.Itoa(os.Getpid()), every: 2 * time.Second},
		"anybody's":  {usec: "4000000", every: 2 * time.Second},
		"a long one": {usec: "9999999999999999999999"},
	} {
		env := map[string]string{"WATCHDOG_USEC": test.usec, "WATCHDOG_PID": test.pid}
		require.Equal(t, test.every, supervised(func(n string) string { return env[n] }, log).every, name)
	}
	supervisor{}.say("READY=1") // nobody wants to know
	var said strings.Builder
	supervisor{socket: "/no/socket", log: slog.New(slog.NewTextHandler(&said, nil))}.say("READY=1")
	require.Contains(t, said.String(), "the service manager is not told")
	abstract := "@pawl-test-" + strconv.Itoa(os.Getpid())
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "\x00" + abstract[1:], Net: "unixgram"})
	require.NoError(t, err)
	defer c.Close()
	supervisor{socket: abstract, log: log}.say("STOPPING=1")
	b := make([]byte, 64)
	n, err := c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "STOPPING=1", string(b[:n]))
}
