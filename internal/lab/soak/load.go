package soak

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// Load is what a node is under, each at once; each comes again after a pause when the node has ended it.
type Load struct {
	Idle    int // connections on which nothing is sent
	Slow    int // requests whose body comes byte by byte
	Streams int // followers of events
	Junk    int // requests that are none, or too large, or packed, or not for this node
	Hostile int // plans of images in registries that drip, hang, or send what is none
	Pause   time.Duration
}

// most bounds a Load, whoever asks for it.
var most = Load{Idle: 5000, Slow: 200, Streams: 500, Junk: 50, Hostile: 20,
	Pause: time.Minute} // as to the pause: the longest that makes sense

// attack is a Load on a node that runs.
type attack struct {
	Load
	target   string // HOST:PORT on loopback
	registry string // of hostiles
	bomb     []byte
	began    atomic.Int64 // how many attempts were made
}

// begin puts the node at target under load, and returns what ends it.
func (l Load) begin(ctx context.Context, target, registry string) (end func(), err error) {
	at, err := netip.ParseAddrPort(target)
	switch {
	case err != nil:
		return nil, err
	case !at.Addr().IsLoopback():
		return nil, fmt.Errorf("%s is not on loopback: no load is put on other machines", target)
	case l.Idle > most.Idle || l.Slow > most.Slow || l.Streams > most.Streams || l.Junk > most.Junk ||
		l.Hostile > most.Hostile:
		return nil, fmt.Errorf("%+v is more than %+v", l, most)
	}
	a := &attack{Load: l, target: target, registry: registry}
	if a.bomb, err = bomb(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, kind := range []struct {
		n    int
		once func(context.Context)
	}{{l.Idle, a.idle}, {l.Slow, a.slow}, {l.Streams, a.stream}, {l.Junk, a.junk}, {l.Hostile, a.hostile}} {
		for range kind.n {
			all.Go(func() { a.again(ctx, kind.once) })
		}
	}
	return func() {
		cancel()
		all.Wait()
	}, nil
}

// bomb is 64 MiB in 64 KiB.
func bomb() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(make([]byte, 64<<20))
	return b.Bytes(), errors.Join(err, z.Close())
}

// again does it until ctx ends, not all at the same moment.
func (a *attack) again(ctx context.Context, once func(context.Context)) {
	for {
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(a.Pause) + 1))):
		case <-ctx.Done():
			return
		}
		a.began.Add(1)
		once(ctx)
	}
}

// dial connects, and has the connection end with ctx.
func (a *attack) dial(ctx context.Context) (c net.Conn, end func()) {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", a.target)
	if err != nil {
		return nil, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, func() {
		stop()
		_ = c.Close()
	}
}

func (a *attack) idle(ctx context.Context) {
	if c, end := a.dial(ctx); c != nil {
		defer end()
		_, _ = c.Read(make([]byte, 1)) // until the node ends it
	}
}

func (a *attack) slow(ctx context.Context) {
	c, end := a.dial(ctx)
	if c == nil {
		return
	}
	defer end()
	fmt.Fprintf(c, "POST /pawl.v1.Node/Status HTTP/1.1\r\nHost: %s\r\nContent-Type: "+
		"application/json\r\nContent-Length: 1000\r\n\r\n", a.target)
	for {
		if _, err := c.Write([]byte(" ")); err != nil {
			return
		}
		time.Sleep(time.Second / 2)
	}
}

func (a *attack) stream(ctx context.Context) {
	c, err := client.New(a.target)
	if err != nil {
		return
	}
	_ = c.Events(ctx, &pawlv1.EventsRequest{Follow: true}, func(*pawlv1.Event) error { return nil })
}

func (a *attack) junk(ctx context.Context) {
	method, body, header := "Status", "{}", map[string]string{}
	switch rand.IntN(8) {
	case 0:
		c, end := a.dial(ctx)
		if c == nil {
			return
		}
		defer end()
		_, _ = c.Write([]byte("\x16\x03\x01 PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1000)))
		return
	case 1:
		body = `{"image":"` + strings.Repeat("x", 1<<20)
	case 2:
		body, header["Content-Encoding"] = string(a.bomb), "gzip"
	case 3:
		body = strings.Repeat(`{"a":`, 10_000)
	case 4:
		header["Host"] = "evil.example"
	case 5:
		header["X"] = strings.Repeat("x", 100_000)
	case 6:
		method = "Doctor"
	case 7:
		method, body = "Plan", `{"image":"`+strings.Repeat("x", 2000)+`"}`
	}
	a.post(ctx, method, body, header)
}

func (a *attack) hostile(ctx context.Context) {
	a.post(ctx, "Plan", fmt.Sprintf(`{"image":"%s/%s:1"}`, a.registry, hostiles[rand.IntN(len(hostiles))]), nil)
}

// post sends a request and goes away after a while, answered or not.
func (a *attack) post(ctx context.Context, method, body string, header map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.target+"/pawl.v1.Node/"+method,
		strings.NewReader(body))
	if err != nil {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := h.Do(r)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
}

// hostiles are the repositories of a registry that means no good.
var hostiles = []string{"drip", "hang", "html", "endless"}

// hostileRegistry serves them.
func hostileRegistry(w http.ResponseWriter, r *http.Request) {
	said := []byte(" ")
	switch {
	case r.URL.Path == "/v2/":
		return
	case strings.Contains(r.URL.Path, "/hang/"):
		<-r.Context().Done()
		return
	case strings.Contains(r.URL.Path, "/html/"):
		_, _ = io.WriteString(w, "<html>Ger\xe4t nicht bereit</html>")
		return
	case strings.Contains(r.URL.Path, "/endless/"):
		said = bytes.Repeat([]byte("{"), 64<<10)
	}
	for {
		if _, err := w.Write(said); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}
