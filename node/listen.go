package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultSocket is where a node listens and where a client looks when nothing else is said.
const DefaultSocket = "unix:/run/pawl.sock"

// ErrOpen is returned for an address that others can reach. Do: listen on loopback or a Unix socket, or say that the
// network is trusted.
var ErrOpen = errors.New("the API authenticates nobody, so it listens only on loopback or a Unix socket")

// Listen opens what Serve serves: "unix:PATH", or "HOST:PORT" on loopback. Whoever can connect can upgrade and restart
// the machine, so another host is ErrOpen unless insecure. A Unix socket is for its owner alone; one that a dead service
// left behind is replaced.
func Listen(ctx context.Context, address string, insecure bool) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(ctx, path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w (want HOST:PORT or unix:PATH)", address, err)
	}
	if !insecure {
		if err := loopback(ctx, host); err != nil {
			return nil, fmt.Errorf("listen on %s: %w (use 127.0.0.1 or %s; --insecure opens it to everybody who can reach it)", address, err, DefaultSocket)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// loopback returns ErrOpen unless every address of host is a loopback address.
func loopback(ctx context.Context, host string) error {
	if host == "" {
		return fmt.Errorf("no host means every interface: %w", ErrOpen)
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return fmt.Errorf("%s is not a loopback address: %w", a.IP, ErrOpen)
		}
	}
	return nil
}

// listenUnix binds in a directory of its own first, so that the socket never stands open to others.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on unix:%s: another service answers there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen on unix:%s: that is no socket, and is left alone", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".pawl-*") // for its owner alone
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	l, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, "s"))
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(filepath.Join(dir, "s"), 0o600), os.Rename(filepath.Join(dir, "s"), path))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on unix:%s: %w", path, err), l.Close())
	}
	return socket{l, path}, nil
}

// socket removes its path when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s socket) Close() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, s.Listener.Close())
	}
	return s.Listener.Close()
}

// gateOf is the measure of what may be taken over l.
func (s *Server) gateOf(l net.Listener) *gate {
	if l.Addr().Network() == "unix" {
		return s.sockets
	}
	return s.tcp
}

// httpServer serves the API on l and holds callers to its limits.
func (s *Server) httpServer(l net.Listener) *http.Server {
	handler := s.handler(s.gateOf(l))
	if s.gateOf(l) == s.tcp {
		handler = s.forUs(handler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC
	return &http.Server{
		Handler: handler, Protocols: protocols, ConnContext: withGuest,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// Serve answers on l until ctx ends; l is closed. Calls that still run then have a second to end. It may
// be called before Start, as Handler says; the clock of a trial runs from then on.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.startClock()
	server := s.httpServer(l)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(limited) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(gated{l, s.gateOf(l)})
	if stop() {
		return fmt.Errorf("serve the API: %w", err)
	}
	<-stopped
	return nil
}
