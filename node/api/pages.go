package api

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
)

// pages adds to mux what is no method of the API:
//
//	/healthz  the service runs; whoever gets so far may ask
//	/readyz   it takes orders: this boot is recorded, and the machine can be read; for readers
//	/metrics  for Prometheus; for readers
//
// and gRPC's health checking, which says what /readyz says.
//
// They are on the API's own listeners, so that there is one way in, with one identity and one measure.
func (a *API) pages(mux *http.ServeMux) {
	a.ui(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.Handle("GET /readyz", a.forReaders(http.HandlerFunc(a.ready)))
	mux.Handle("GET /metrics", a.forReaders(a.metrics))
	mux.Handle(healthCheck, a.forReaders(connect.NewUnaryHandler(healthCheck, a.health,
		connect.WithReadMaxBytes(MaxRequest), connect.WithCompression("gzip", nil, nil))))
	mux.Handle(reflectionInfo, a.forReaders(connect.NewBidiStreamHandler(reflectionInfo, a.reflect,
		connect.WithReadMaxBytes(MaxRequest), connect.WithCompression("gzip", nil, nil))))
}

// ready answers whether the node takes orders, and if not why.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	if _, err := a.read(r.Context()); err != nil {
		say(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	say(w, http.StatusOK, "ok")
}

// read is the status once this boot is recorded, which it does not wait for long.
func (a *API) read(ctx context.Context) (node.Status, error) {
	limited, cancel := context.WithTimeoutCause(ctx, startTime, node.ErrStarting)
	err := a.s.Recorded(limited)
	cancel()
	if err != nil {
		return node.Status{}, err
	}
	return a.s.Status(ctx)
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a caller who is gone hears nothing
}

// forReaders refuses who is no reader.
func (a *API) forReaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller := access.CallerOf(r.Context()); !caller.Role.Includes(access.Reader) {
			err := fmt.Errorf("it needs the role %s, and %s has none: %w", access.Reader, caller.Name, access.ErrDenied)
			a.audit.refused(r.Context(), r, err)
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
