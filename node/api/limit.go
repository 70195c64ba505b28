package api

import (
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// What callers may take of the service. Addresses of TCP share one measure of each, and Unix sockets another, so that a
// flood on the network leaves the machine's own socket as it is.
const (
	MaxConnections = 512 // over TCP; fewer where the process may have few files open, see connections
	MaxSockets     = 64  // the same over Unix sockets
	// at once, of each kind: followers, plans, doctor, reflection, all others; a further one is [ErrTooMany]
	MaxCalls   = 64
	MaxRequest = 64 << 10 // bytes of a request's message
	MaxAnswer  = 4 << 20  // bytes of a message that the service sends; a client takes no larger one
	MaxStreams = 16       // calls at once on one connection
	maxHeader  = 16 << 10 // bytes of a request's header
	maxReading = 4 * 64   // requests at once of which not all has come
	reserved   = 128      // files that are the service's own: the disk, hooks, registries
	bodyTime   = 5 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 30 * time.Second
)

// ErrTooMany is returned over the API when more is asked for at once than the service gives. Do: ask again later, or on
// the machine's own socket.
var ErrTooMany = errors.New("too many calls at once (ask again later, or over the node's own socket)")

// connections is how many the service takes over TCP and over Unix sockets. Go has raised the process's limit of open
// files to what it may be raised to; of that, some are kept for the service itself.
func connections() (tcp, sockets int) {
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 2 * reserved
	}
	return share(limit.Cur)
}

func share(files uint64) (tcp, sockets int) {
	n := int(min(files, 1<<20))
	free := max(n-reserved, n/2)
	sockets = min(MaxSockets, max(free/4, 1))
	return min(MaxConnections, max(free-sockets, 1)), sockets
}

// gate lets in what one kind of address may take.
type gate struct {
	most  int            // connections
	write time.Duration  // for a caller to take a part of an answer
	kinds map[string]int // of calls, by path, beside those that callKind knows

	mu      sync.Mutex
	open    int
	quiet   list.List // of *guest: those without a call that has come whole, the longest so first
	reading int
	calls   [callKinds]int
}

func newGate(most int) *gate { return &gate{most: most, write: writeTime, kinds: map[string]int{}} }

// Kinds of calls. Those that last long, or wait for others, do not take the place of those that do not.
const (
	others = iota
	followers
	plans
	doctors
	reflections
	callKinds
)

// callKind is the kind of the call that a path names.
func callKind(path string) int {
	switch path {
	case pawlv1.NodeEventsProcedure, pawlv1.NodeDmesgProcedure:
		return followers
	case pawlv1.NodePlanProcedure:
		return plans
	case pawlv1.NodeDoctorProcedure, uiDoctor:
		return doctors
	case reflectionInfo:
		return reflections
	}
	return others
}

// guest is a connection.
type guest struct {
	net.Conn
	gate    *gate
	place   *list.Element // in quiet; nil while calls run, and once closed
	reading int
	calls   int
	closed  bool
}

type guestKey struct{}

// gated takes connections through a gate.
type gated struct {
	net.Listener
	gate *gate
}

// Accept makes room for a new connection by closing the one that has been quiet for longest. If calls run on all of
// them, the new one is closed.
func (l gated) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g := l.gate.admit(c); g != nil {
			return g, nil
		}
		_ = c.Close()
	}
}

func (g *gate) admit(c net.Conn) *guest {
	g.mu.Lock()
	var oldest *guest
	if g.open >= g.most {
		if g.quiet.Len() == 0 {
			g.mu.Unlock()
			return nil
		}
		oldest = g.quiet.Front().Value.(*guest)
		oldest.leave()
	}
	g.open++
	come := &guest{Conn: c, gate: g}
	come.place = g.quiet.PushBack(come)
	g.mu.Unlock()
	if oldest != nil {
		_ = oldest.Conn.Close()
	}
	return come
}

// leave takes the connection out of the account; the gate's mu is held.
func (c *guest) leave() {
	if c.closed {
		return
	}
	c.closed = true
	c.gate.open--
	c.hush(false)
}

// hush says whether the connection is quiet; the gate's mu is held.
func (c *guest) hush(quiet bool) {
	if c.place != nil {
		c.gate.quiet.Remove(c.place)
		c.place = nil
	}
	if quiet && !c.closed {
		c.place = c.gate.quiet.PushBack(c)
	}
}

func (c *guest) Close() error {
	c.gate.mu.Lock()
	c.leave()
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite is what package http closes first, so that an answer is not lost with a request that was not read.
func (c *guest) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// read reports whether another request may be read on c, which is nil where the connection is not ours. The slowest
// sender gives way.
func (g *gate) read(c *guest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reading >= maxReading {
		for e := g.quiet.Front(); e != nil; e = e.Next() {
			if slow := e.Value.(*guest); slow.reading > 0 && slow != c {
				slow.leave()
				go slow.Conn.Close()
				g.count(c, 1)
				return true
			}
		}
		return false
	}
	g.count(c, 1)
	return true
}

func (g *gate) count(c *guest, n int) {
	g.reading += n
	if c != nil {
		c.reading += n
	}
}

func (g *gate) haveRead(c *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(c, -1)
}

// enter begins a call, and returns what ends it; nil if there are too many.
func (g *gate) enter(c *guest, path string) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kind, ok := g.kinds[path]
	if !ok {
		kind = callKind(path)
	}
	count := &g.calls[kind]
	if *count >= MaxCalls {
		return nil
	}
	*count++
	if c != nil {
		c.calls++
		c.hush(false)
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		*count--
		if c == nil {
			return
		}
		if c.calls--; c.calls == 0 {
			c.hush(true)
		}
	}
}

// limit has a request come whole, and soon, before next gets it.
func (g *gate) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(guestKey{}).(*guest)
		if !g.read(c) {
			refuse(w, r, ErrTooMany)
			return
		}
		body, err := wholeBody(w, r)
		g.haveRead(c)
		if err != nil {
			refuse(w, r, err)
			return
		}
		leave := g.enter(c, r.URL.Path)
		if leave == nil {
			refuse(w, r, ErrTooMany)
			return
		}
		defer leave()
		r.Body = body
		next.ServeHTTP(&patient{w, http.NewResponseController(w), g.write}, r)
	})
}

// wholeBody is a request's body, of which all has come. Only reflection is a conversation: all of it has that time, and
// no more may come.
func wholeBody(w http.ResponseWriter, r *http.Request) (io.ReadCloser, error) {
	if r.URL.Path == reflectionInfo {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		return http.MaxBytesReader(w, r.Body, MaxRequest+frameHeader), nil
	}
	body, err := readBody(w, r)
	return io.NopCloser(bytes.NewReader(body)), err
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // a server that knows none has its own
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest+frameHeader))
	_ = control.SetReadDeadline(time.Time{})
	large := new(http.MaxBytesError)
	switch {
	case errors.As(err, &large):
		return nil, fmt.Errorf("it has more than %d bytes: %w", MaxRequest, node.ErrRequest)
	case err != nil:
		return nil, fmt.Errorf("it did not come within %s: %w: %w", bodyTime, err, node.ErrRequest)
	}
	return body, nil
}

// frameHeader is what gRPC and streams of Connect have before a message.
const frameHeader = 5

// patient gives a caller so long to take each part of an answer. Between the parts there is no limit: a stream may be
// silent.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.limit)) // a server that knows none has its own
	n, err := p.ResponseWriter.Write(b)
	_ = p.control.SetWriteDeadline(time.Time{})
	return n, err
}

// Flush implements [http.Flusher].
func (p *patient) Flush() {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.limit))
	_ = p.control.Flush() // the next Write says what is wrong
	_ = p.control.SetWriteDeadline(time.Time{})
}

// Unwrap is for [http.ResponseController].
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

var errorWriter = connect.NewErrorWriter()

// refuse answers a request that the API does not see.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	err = fmt.Errorf("%s: %w", r.URL.Path, err)
	if !errorWriter.IsSupported(r) {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	_ = errorWriter.Write(w, r, wireError(err)) // a caller who is gone hears nothing
}

// connected lets handlers know the connection.
func (a *API) connected(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if g, ok := c.(*guest); ok {
		return a.access.Connected(context.WithValue(ctx, guestKey{}, g), g.Conn)
	}
	return ctx
}
