// Package testregistry is an OCI registry for tests and for the demo: go-containerregistry's own over real HTTP, with a
// layer in front that counts requests and does on demand what bad networks and bad registries do.
//
// Start with Serve. Push into it with pack.Layout.Push or any other client; add a Fault to make it misbehave.
//
// Images are kept in memory and are gone with the process.
package testregistry

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is a registry that is being served.
type Registry struct {
	listener net.Listener
	server   *http.Server
	inner    http.Handler

	mu       sync.Mutex
	faults   []*Fault
	requests []*Request
}

// Request is one request that the registry was sent.
type Request struct {
	Method, Path, Range string
	Status              int   // the status of the answer
	Bytes               int64 // of the body that were sent
}

// Serve starts a registry on a TCP address such as "127.0.0.1:5000"; with port 0 the system chooses one. The caller
// closes it.
func Serve(address string) (*Registry, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		listener: l,
		inner:    registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)),
	}
	// A small buffer, so that what was sent is about what was received.
	small := func(ctx context.Context, c net.Conn) context.Context {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(64 << 10)
		}
		return ctx
	}
	r.server = &http.Server{Handler: r, ConnContext: small, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0)}
	go r.server.Serve(l) // ends with ErrServerClosed
	return r, nil
}

// Host is "address:port", the first part of each reference into this registry.
func (r *Registry) Host() string { return r.listener.Addr().String() }

// Close stops the registry and cuts all its connections.
func (r *Registry) Close() error { return r.server.Close() }

// Fault adds a fault. The first that matches a request and has strikes left is the one that acts.
func (r *Registry) Fault(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, &f)
}

// Heal removes all faults and forgets the requests so far.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults, r.requests = nil, nil
}

// Requests returns the requests so far. Status and Bytes of one that has not ended are zero.
func (r *Registry) Requests() (all []Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.requests {
		all = append(all, *q)
	}
	return all
}

// ServeHTTP answers a request with the fault that matches it, or without one.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	out := &answer{ResponseWriter: w, fault: r.strike(req), request: req}
	noted := &Request{Method: req.Method, Path: req.URL.Path, Range: req.Header.Get("Range")}
	r.mu.Lock()
	r.requests = append(r.requests, noted)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		noted.Status, noted.Bytes = out.status, out.sent
		r.mu.Unlock()
	}()
	if f := out.fault; f != nil {
		if f.Delay > 0 {
			select {
			case <-time.After(f.Delay):
			case <-req.Context().Done():
				return
			}
		}
		if f.Status != 0 {
			for name, values := range f.Header {
				w.Header()[name] = values
			}
			out.status = f.Status
			w.WriteHeader(f.Status)
			return
		}
		if f.IgnoreRange {
			req = req.Clone(req.Context())
			req.Header.Del("Range")
		}
	}
	r.inner.ServeHTTP(out, req)
}

// strike finds the fault for a request and takes one of its strikes.
func (r *Registry) strike(req *http.Request) *Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if f.matches(req) {
			if f.Times > 0 {
				f.struck++
			}
			return f
		}
	}
	return nil
}
