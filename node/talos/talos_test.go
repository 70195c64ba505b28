package talos

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/computer"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// What a caller of each role hears of each method: "" if it may call it.
func TestRolesOfTalosMayDoWhatTheyMay(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.0.0"}, Options{})
	const m = "/machine.MachineService/"
	for path, test := range map[string]struct {
		request []byte
		least   string
		code    string // of who may: what is wrong with the request
	}{
		m + "Version":                         {least: "reader"},
		m + "ServiceList":                     {least: "reader"},
		m + "Read":                            {least: "reader", code: unimplemented, request: f(1, "/etc/shadow")},
		m + "Dmesg":                           {least: "reader"},
		m + "Reboot":                          {least: "operator", code: invalid, request: f(1, 7)},
		m + "Upgrade":                         {least: "admin", code: invalid},
		m + "Rollback":                        {least: "admin", code: "9"},
		m + "MetaWrite":                       {least: "admin", code: invalid, request: f(1, 256)},
		m + "MetaDelete":                      {least: "admin", code: invalid},
		"/machine.ImageService/Pull":          {least: "operator", code: invalid},
		"/machine.LifecycleService/Upgrade":   {least: "admin", code: invalid},
		m + "Shutdown":                        {least: "", code: unimplemented},
		"/cosi.resource.State/List":           {least: "", code: unimplemented},
		"/cluster.ClusterService/HealthCheck": {least: "", code: unimplemented},
	} {
		ranks := []string{"nobody", "impersonator", "reader", "operator", "admin"}
		for rank, role := range ranks {
			_, err := s.as("os:"+role).call(t.Context(), path, test.request)
			got := status{}
			errors.As(err, &got)
			may := test.least == "" || rank >= len(ranks)-1 || rank >= index(ranks, test.least)
			if want := map[bool]string{true: test.code, false: denied}[may]; want != got.code {
				t.Errorf("%s of %s: code %q (%v), want %q", role, path, got.code, err, want)
			}
			if got.code == unimplemented {
				require.Contains(t, got.text, strings.TrimPrefix(path, "/"), "it is refused by its name")
			}
		}
	}
	_, err := s.as("os:operator").call(t.Context(), m+"Reboot", f(1, 2))
	require.ErrorContains(t, err, "by force needs the role admin")
	require.Equal(t, []string{"1.0.0 in A"}, s.Boots(), "nothing of that did anything")
}

func index(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}

func TestWhatIsMeantForAnotherMachineIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.0.0"}, Options{})
	c := s.as("os:admin")
	for name, test := range map[string]struct {
		nodes []string
		code  string
	}{
		"nobody is named":     {nil, ""},
		"an address of it":    {[]string{"127.0.0.1"}, ""},
		"a name of it":        {[]string{"localhost"}, ""},
		"another one":         {[]string{"192.0.2.7"}, denied},
		"another one's name":  {[]string{"cp-2.example.com"}, denied},
		"both":                {[]string{"127.0.0.1", "192.0.2.7"}, denied},
		"both, as one header": {[]string{"127.0.0.1, 192.0.2.7"}, denied},
		"nothing":             {[]string{""}, denied},
	} {
		t.Run(name, func(t *testing.T) {
			c := &caller{http: c.http, base: c.base, nodes: test.nodes}
			for _, path := range []string{"Version", "Events"} { // one that answers, one that follows
				ctx, cancel := context.WithCancel(t.Context())
				r, err := c.open(ctx, "/machine.MachineService/"+path, nil)
				require.NoError(t, err)
				_, err = r.next()
				cancel()
				got := status{}
				errors.As(err, &got)
				require.Equal(t, test.code, got.code, "%v", err)
				if test.code != "" {
					require.Contains(t, got.text, "no request forwarding")
				}
			}
		})
	}
	elsewhere := &caller{http: c.http, base: c.base, nodes: []string{"192.0.2.7"}}
	_, err := elsewhere.call(t.Context(), "/machine.MachineService/Reboot")
	require.Error(t, err)
	time.Sleep(300 * time.Millisecond) // longer than a restart waits for its answer to go out
	require.Equal(t, []string{"1.0.0 in A"}, s.Boots(), "what was meant for another one is not done here")
}

// A client reads events and health of a service without a look whether they are there.
func TestServicesHaveEventsAndHealth(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.0.0"}, Options{})
	var service []byte
	require.Eventually(t, func() bool {
		service = []byte(at(s.as("os:reader").one(t, "/machine.MachineService/ServiceList"), 1, 2))
		return at(service, 4, 2) == "1"
	}, 10*time.Second, 10*time.Millisecond, "it is healthy once it has started")
	require.Equal(t, "pawld", at(service, 1))
	require.Len(t, all(service, 3), 1, "events")
	require.Len(t, all([]byte(at(service, 4)), 4), 1, "last change")
}

func TestMetaIsWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.0.0"}, Options{})
	c := s.as("os:admin")
	c.one(t, "/machine.MachineService/MetaWrite", f(1, 12), f(2, []byte("hello")))
	c.one(t, "/machine.MachineService/MetaDelete", f(1, 12))
	_, err := c.call(t.Context(), "/machine.MachineService/MetaDelete", f(1, 12))
	require.ErrorContains(t, err, "code "+notFound)
}

// A client that pings every ten seconds is let; a server of gRPC ends the connection at the third ping or so.
func TestAQuietConnectionMayPing(t *testing.T) {
	t.Parallel()
	s := newSite(t, computer.Software{Version: "1.0.0"}, Options{})
	c := s.as("os:reader")
	transport := c.http.Transport.(*http.Transport).Clone()
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Millisecond, PingTimeout: 5 * time.Second}
	counted := new(counter)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		counted.Conn = conn
		return counted, err
	}
	c = &caller{http: &http.Client{Transport: transport}, base: c.base}
	require.Eventually(t, func() bool { // the state is told, so nothing is told any more
		return at(c.one(t, "/machine.MachineService/ServiceList"), 1, 2, 4, 2) == "1"
	}, 10*time.Second, 10*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := c.open(ctx, "/machine.MachineService/Events", nil)
	require.NoError(t, err)
	first, err := r.next()
	require.NoError(t, err)
	require.Empty(t, first)
	before := counted.writes.Load()
	time.AfterFunc(500*time.Millisecond, cancel)
	_, err = r.next()
	require.ErrorIs(t, err, context.Canceled, "it goes on until the client ends it")
	require.Greater(t, counted.writes.Load()-before, int64(10), "pings were sent")
}

type counter struct {
	net.Conn
	writes atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestTheTagIsASemanticVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.14.0": "v1.14.0", "v2.0.0": "v2.0.0", "1.13.0-alpha.3": "v1.13.0-alpha.3", "1.2.3+dirty": "v1.2.3+dirty",
		"": "v0.0.0+unknown", "12": "v0.0.0+12", "2024.10": "v0.0.0+2024.10",
		"Debian 12 (bookworm)": "v0.0.0+Debian-12--bookworm-",
	} {
		require.Equal(t, want, tag(node.Status{Status: report.Status{Version: version}}), version)
	}
}

func running(name string) *node.OperationStatus {
	return &node.OperationStatus{Name: name, Running: true}
}

// Only a version that stays runs and is ready.
func TestOnlyAVersionThatStaysIsReady(t *testing.T) {
	fine := func() node.Status {
		return node.Status{Status: report.Status{BootID: "boot-2", Loader: bootloader.State{Active: "B", Default: "B"}}}
	}
	require.True(t, stateOf(fine()).ready())
	for name, spoil := range map[string]func(*node.Status){
		"a trial":           func(st *node.Status) { st.Loader.Default = "A" },
		"a trial's checks":  func(st *node.Status) { st.Checks = &node.Checks{State: node.TrialRunning} },
		"a failed trial":    func(st *node.Status) { st.Checks = &node.Checks{State: node.TrialFailed} },
		"unordered":         func(st *node.Status) { st.Unordered = "nobody knows" },
		"not undone":        func(st *node.Status) { st.Undoing = []string{"uncordon: not yet"} },
		"a bad start":       func(st *node.Status) { st.Problem = "the disk smells" },
		"an upgrade":        func(st *node.Status) { st.Operation = running("upgrade to os:2") },
		"a restart":         func(st *node.Status) { st.Operation = running("reboot") },
		"a staged upgrade":  func(st *node.Status) { st.Attempt = &attempt.Attempt{State: attempt.Staged, Stage: true} },
		"one that is armed": func(st *node.Status) { st.Attempt = &attempt.Attempt{State: attempt.Armed, Stage: true} },
	} {
		st := fine()
		spoil(&st)
		require.False(t, stateOf(st).ready(), name)
	}
	for name, leave := range map[string]func(*node.Status){
		"META is written": func(st *node.Status) {
			st.Operation = running("set META value 0x0c")
		},
		"an upgrade is over": func(st *node.Status) { st.Operation = &node.OperationStatus{Name: "upgrade to os:2"} },
		"staged in this boot": func(st *node.Status) {
			st.Attempt = &attempt.Attempt{State: attempt.Staged, Stage: true, Boots: attempt.Boots{Prepared: "boot-2"}}
		},
	} {
		st := fine()
		leave(&st)
		require.True(t, stateOf(st).ready(), name)
	}
}

// What became of the order before is told in the boot in which it came out, and not after it.
func TestAFateIsOfThisBoot(t *testing.T) {
	fell := attempt.Attempt{Kind: attempt.Upgrade, State: attempt.Ended, Result: attempt.FellBack, Version: "2",
		Reason: "it smells", Boots: attempt.Boots{Ended: "boot-3"}}
	st := node.Status{Status: report.Status{BootID: "boot-3", Attempt: &fell}}
	require.Equal(t, "to 2: fell back: it smells", fate(st).Error.Message)
	st.BootID = "boot-4"
	require.Nil(t, fate(st))
	fell.Boots.Ended, fell.Result, fell.Reason = "boot-4", attempt.Confirmed, ""
	require.Nil(t, fate(st))
	fell.Result = attempt.FellBack
	require.NotEmpty(t, fate(st).Error.Message, "an error without a text is none")
	require.Contains(t, fate(node.Status{Status: report.Status{Unread: errors.New("damaged")}}).Error.Message, "damaged")
	require.Nil(t, fate(node.Status{}))
}

func TestKernelLinesAreAsTalosHasThem(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	line := kernelLine(node.KernelMessage{Priority: 6, SinceBoot: 1500 * time.Millisecond, Text: "hello"}, at)
	require.Equal(t, "kern:    info: [2026-01-02T03:04:06.5Z]: hello\n", line)
	line = kernelLine(node.KernelMessage{Priority: 3<<3 | 4, Text: "\xff"}, at)
	require.Equal(t, "daemon: warning: [2026-01-02T03:04:05Z]: \ufffd\n", line)
	require.True(t, strings.HasPrefix(kernelLine(node.KernelMessage{Priority: 1 << 20}, at), "131072:   emerg: "))
}

func TestIDsSortAsEventsCome(t *testing.T) {
	at, last := time.Unix(1700000000, 0), ""
	for n := range uint64(100) {
		next := id("boot-1", at.Add(time.Duration(n/10)*time.Second), n)
		require.Len(t, next, 20)
		require.Greater(t, next, last)
		last = next
	}
}
