// Package api serves a node over HTTP: the API of package node/pawlv1, by Connect, gRPC and gRPC-Web. It is the one
// package of the service that knows protobuf and connect; a system with an API of its own leaves it out, and calls
// [node.Server].
//
// Start with [Run], which is the whole service. [New] is for who wishes for more: a Handler for an HTTP server of his
// own, or Serve on listeners of his own.
//
// Who may call what is package node/api/access's. What callers may take of the service is bounded: see
// [MaxConnections]. The client is package node/client.
package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// API serves one node. Its methods may be called concurrently.
type API struct {
	s       server
	names   []string
	log     *slog.Logger
	access  *access.Control
	audit   *audit
	metrics *metrics
	beside  []Service
	tcp     *gate // what may be taken over TCP
	sockets *gate // what may be taken over Unix sockets
}

// Options say how a node is served. The zero value works.
type Options struct {
	Names []string     // by which clients call this node over TCP, beside its host name and its addresses
	Log   *slog.Logger // nil discards
	// who is what; nil: admins are this machine's root and the service's user over a Unix socket, and everybody over TCP
	Access *access.Control
	Beside []Beside // other APIs, served on the same listeners
}

// New returns the API of s.
func New(s *node.Server, o Options) *API {
	a := newAPI(s, o)
	for _, beside := range o.Beside {
		a.add(beside(s, a.isHere))
	}
	return a
}

func newAPI(s server, o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Access == nil {
		o.Access, _ = access.New(access.Options{}) // nothing in it can be wrong
	}
	tcp, sockets := connections()
	a := &API{
		s: s, names: o.Names, log: o.Log, access: o.Access,
		audit: &audit{log: o.Log, tell: s.Called, now: time.Now, free: refusalsAtOnce},
		tcp:   newGate(tcp), sockets: newGate(sockets),
	}
	a.metrics = &metrics{a: a, steps: map[[2]string]took{}, ends: map[[2]string]int{}}
	return a
}

// Handler is the API, for an embedder's own HTTP server. Serve is the simple way. It may be used before Start: what
// tells of the machine or changes it waits for Start then, or fails with [node.ErrStarting]. It bounds requests and
// calls, as over TCP; connections, who calls ([access.With]; without it, nobody, who may do nothing), and by what name
// the node may be called, are the server's own matter.
func (a *API) Handler() http.Handler { return a.handler(a.tcp) }

func (a *API) handler(g *gate) http.Handler {
	mux := http.NewServeMux()
	methods := connect.WithHandlerOptions(connect.WithReadMaxBytes(MaxRequest), connect.WithSendMaxBytes(MaxAnswer),
		connect.WithCompression("gzip", nil, nil), // a small request can unpack to a very large one
		connect.WithInterceptors(guard{audit: a.audit}, validText{}))
	mux.Handle(pawlv1.NewNodeHandler(service{a.s, a.access}, methods))
	for _, s := range a.beside {
		s.Add(mux, methods)
	}
	a.pages(mux)
	return g.limit(mux)
}

// gateOf is the measure of what may be taken over l.
func (a *API) gateOf(l net.Listener) *gate {
	if l.Addr().Network() == "unix" {
		return a.sockets
	}
	return a.tcp
}

// httpServer serves the API on l and holds callers to its limits.
func (a *API) httpServer(l net.Listener) *http.Server {
	handler := a.identified(a.handler(a.gateOf(l)))
	secure := a.gateOf(l) == a.tcp && a.access.Secure()
	if a.gateOf(l) == a.tcp {
		handler = a.forUs(handler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(secure) // gRPC
	protocols.SetUnencryptedHTTP2(!secure)
	return &http.Server{
		Handler: handler, Protocols: protocols, ConnContext: a.connected,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: MaxStreams, MaxReceiveBufferPerConnection: 64 << 10,
			MaxReceiveBufferPerStream: 64 << 10},
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
}

// Serve answers on l until ctx ends; l is closed. Calls that still run then have a second to end. It may be called
// before Start, as Handler says; the clock of a trial runs from then on.
func (a *API) Serve(ctx context.Context, l net.Listener) error {
	a.s.StartClock()
	server := a.httpServer(l)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(limited) != nil {
			_ = server.Close()
		}
	})
	l = gated{l, a.gateOf(l)}
	if l.Addr().Network() != "unix" && a.access.Secure() {
		l = tls.NewListener(l, a.access.TLS())
	}
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("serve the API: %w", err)
	}
	<-stopped
	return nil
}
