package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// served serves s on an address and returns the one that it has.
func served(t *testing.T, a *API, address string) net.Addr {
	l, err := Listen(t.Context(), address, false)
	require.NoError(t, err)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- a.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return l.Addr()
}

// post sends a request as a program does that knows nothing of the API's client.
func post(t *testing.T, to net.Addr, method, body string, header map[string]string) (int, string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+to.String()+"/pawl.v1.Node/"+method,
		strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := h.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(said)
}

func TestOnlyRequestsForThisNodeAreServed(t *testing.T) {
	to := served(t, newAPI(newStub(t), Options{Names: []string{"node1.lan"}}), "127.0.0.1:0")
	for name, test := range map[string]struct {
		header map[string]string
		status int
		says   string
	}{
		"its address":        {nil, 200, "boot-1"},
		"another address":    {map[string]string{"Host": "[fe80::1]:7295"}, 200, "boot-1"},
		"localhost":          {map[string]string{"Host": "localhost:7295"}, 200, "boot-1"},
		"a name it was told": {map[string]string{"Host": "Node1.LAN."}, 200, "boot-1"},
		"a name that was made to point": {map[string]string{"Host": "evil.example:7295"}, 403,
			`evil.example\" is no name of this node`},
		"a name that begins as one": {map[string]string{"Host": "localhost.evil.example"}, 403,
			"give the service that name"},
		"an empty name":                {map[string]string{"Host": ":1"}, 403, "no name"},
		"a web page":                   {map[string]string{"Origin": "http://127.0.0.1"}, 403, "a web page asks"},
		"a web page without an origin": {map[string]string{"Origin": "null"}, 403, "a web page asks"},
	} {
		t.Run(name, func(t *testing.T) {
			status, said := post(t, to, "Version", "{}", test.header)
			require.Equal(t, test.status, status, said)
			require.Contains(t, said, test.says)
		})
	}
	t.Run("over its own socket any name will do", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		served(t, newAPI(newStub(t), Options{}), "unix:"+path)
		h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
			error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		defer h.CloseIdleConnections()
		_, err := pawlv1.NewNodeClient(h, "http://node").Version(t.Context(), &pawlv1.VersionRequest{})
		require.NoError(t, err)
	})
}

func TestARequestCostsLittle(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(bytes.Repeat([]byte(" "), 64<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	to := served(t, newAPI(newStub(t), Options{}), "127.0.0.1:0")
	for name, test := range map[string]struct {
		body   string
		header map[string]string
		says   string
	}{
		"64 MiB of JSON": {`{"image":"` + strings.Repeat("x", 64<<20), nil,
			"more than 65536 bytes"},
		"nested JSON": {strings.Repeat(`{"a":`, 10_000), nil, "invalid_argument"},
		"64 MiB in gzip": {packed.String()[:60<<10], map[string]string{"Content-Encoding": "gzip"},
			"unknown compression"},
		"a reference of 2 KiB":               {`{"image":"` + strings.Repeat("x", 2<<10) + `"}`, nil, "at most 1024"},
		"a reference with a newline":         {`{"image":"a\nb"}`, nil, "cannot be printed"},
		"a reference that clears the screen": {`{"image":"\u001b[2J"}`, nil, "cannot be printed"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			status, said := post(t, to, "Plan", test.body, test.header)
			runtime.ReadMemStats(&after)
			require.GreaterOrEqual(t, status, 400)
			require.Contains(t, said, test.says)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
		})
	}
	_, said := post(t, to, "Version", "{}", map[string]string{"Accept-Encoding": "gzip"})
	require.Contains(t, said, "boot-1")
}

func TestAFloodOnTheNetworkLeavesRoom(t *testing.T) {
	a := newAPI(newStub(t), Options{})
	a.tcp.most = 8
	to := served(t, a, "127.0.0.1:0")
	flood := map[string]func(net.Conn){
		"quiet connections": func(net.Conn) {},
		"slow bodies": func(c net.Conn) {
			fmt.Fprintf(c, "POST /pawl.v1.Node/Status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "+
				"application/json\r\nContent-Length: 100\r\n\r\n{")
		},
		"junk":           func(c net.Conn) { fmt.Fprintf(c, "\x16\x03\x01 junk\r\n\r\n") },
		"half of HTTP/2": func(c net.Conn) { fmt.Fprintf(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") },
	}
	for name, send := range flood {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				c, err := net.Dial("tcp", to.String())
				require.NoError(t, err)
				defer c.Close()
				send(c)
			}
			status, said := post(t, to, "Version", "{}", nil)
			require.Equal(t, 200, status, said)
			a.tcp.mu.Lock()
			defer a.tcp.mu.Unlock()
			require.LessOrEqual(t, a.tcp.open, 8)
		})
	}
	until(t, "the account is even", func() bool {
		a.tcp.mu.Lock()
		defer a.tcp.mu.Unlock()
		return a.tcp.reading == 0 && a.tcp.calls == [callKinds]int{} && a.tcp.quiet.Len() == a.tcp.open
	})
}

// silent tells one event, and then nothing.
func silent(ctx context.Context, _ node.Since, each func(node.Event) error) error {
	if err := each(node.Event{Operation: "a"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func wait(until <-chan bool) error {
	<-until
	return nil
}

func TestStreamsAreBoundedAndLeaveTheirPlace(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "gRPC": {connect.WithGRPC()}} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.events = silent
			a := newAPI(s, Options{})
			c := serve(t, a, options...)
			var kinds []string
			for range 2 {
				ctx, cancel := context.WithCancel(t.Context())
				for range MaxCalls {
					stream, err := c.Events(ctx, &pawlv1.EventsRequest{Follow: true})
					require.NoError(t, err)
					require.True(t, stream.Receive(), "%v", stream.Err())
				}
				stream, err := c.Events(ctx, &pawlv1.EventsRequest{Follow: true})
				require.NoError(t, err)
				require.False(t, stream.Receive())
				kinds = append(kinds, kindOf(t, stream.Err()))
				_, err = c.Version(t.Context(), &pawlv1.VersionRequest{})
				require.NoError(t, err, "other calls have their own measure")
				cancel()
				until(t, "all have left", func() bool {
					a.tcp.mu.Lock()
					defer a.tcp.mu.Unlock()
					return a.tcp.calls[followers] == 0
				})
			}
			require.Equal(t, []string{"too-many", "too-many"}, kinds)
		})
	}
}

func TestFilesAreKeptForTheService(t *testing.T) {
	for files, want := range map[uint64][2]int{
		1 << 40: {MaxConnections, MaxSockets}, 20000: {MaxConnections, MaxSockets}, 256: {96, 32}, 64: {24, 8},
		2: {1, 1},
	} {
		tcp, sockets := share(files)
		require.Equal(t, want, [2]int{tcp, sockets}, files)
	}
}

func TestAStreamMayBeSilent(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "gRPC": {connect.WithGRPC()}} {
		t.Run(name, func(t *testing.T) {
			s, more := newStub(t), make(chan bool)
			s.events = func(_ context.Context, _ node.Since, each func(node.Event) error) error {
				return errors.Join(each(node.Event{Operation: "a"}), wait(more), each(node.Event{Operation: "b"}))
			}
			a := newAPI(s, Options{})
			a.tcp.write = 50 * time.Millisecond
			stream, err := serve(t, a, options...).Events(t.Context(), &pawlv1.EventsRequest{Follow: true})
			require.NoError(t, err)
			defer stream.Close()
			require.True(t, stream.Receive(), "%v", stream.Err())
			<-time.After(4 * a.tcp.write) // longer than a part of an answer may take to be taken
			close(more)
			require.True(t, stream.Receive(), "%v", stream.Err())
			require.Equal(t, "b", stream.Msg().Operation)
		})
	}
}

func TestWhoTakesNoAnswerIsLetGo(t *testing.T) {
	s := newStub(t)
	s.events = func(_ context.Context, _ node.Since, each func(node.Event) error) error {
		for {
			if err := each(node.Event{Operation: strings.Repeat("x", maxText)}); err != nil {
				return err
			}
		}
	}
	a := newAPI(s, Options{})
	a.tcp.write = 50 * time.Millisecond
	c, err := net.Dial("tcp", served(t, a, "127.0.0.1:0").String())
	require.NoError(t, err)
	defer c.Close()
	body := "\x00\x00\x00\x00\x02{}"
	fmt.Fprintf(c, "POST /pawl.v1.Node/Events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "+
		"application/connect+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	begun := 0
	until(t, "it begins", func() bool {
		a.tcp.mu.Lock()
		defer a.tcp.mu.Unlock()
		begun += a.tcp.calls[followers]
		return begun > 0
	})
	until(t, "it ends", func() bool {
		a.tcp.mu.Lock()
		defer a.tcp.mu.Unlock()
		return a.tcp.calls[followers] == 0
	})
}

// What a connection may carry at once is said to the client as HTTP/2 says it. Specification: RFC 9113, 6.5.
func TestCallsOnOneConnectionAreBounded(t *testing.T) {
	conn, err := net.Dial("tcp", served(t, newAPI(newStub(t), Options{}), "127.0.0.1:0").String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	require.NoError(t, err)
	var header [9]byte // 3 bytes of length, type, flags, 4 bytes of stream
	_, err = io.ReadFull(conn, header[:])
	require.NoError(t, err)
	require.Equal(t, byte(4), header[3], "SETTINGS come first")
	settings := make([]byte, int(header[1])<<8|int(header[2]))
	_, err = io.ReadFull(conn, settings)
	require.NoError(t, err)
	said := map[uint16]uint32{}
	for ; len(settings) >= 6; settings = settings[6:] {
		said[binary.BigEndian.Uint16(settings)] = binary.BigEndian.Uint32(settings[2:])
	}
	require.Equal(t, uint32(MaxStreams), said[3], "SETTINGS_MAX_CONCURRENT_STREAMS")
}
