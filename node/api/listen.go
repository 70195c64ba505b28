package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// DefaultSocket is where a node listens and where a client looks when nothing else is said.
const DefaultSocket = "unix:/run/pawl.sock"

// ErrOpen is returned for an address that others can reach. Do: listen on loopback or a Unix socket, have TLS, or say
// that the network is trusted.
var ErrOpen = errors.New("without TLS the API knows nobody over TCP, so it listens only on loopback or a Unix socket")

// Listen opens what Serve serves: "unix:PATH", or "HOST:PORT" on loopback. Whoever can connect can upgrade and restart
// the machine, so another host is [ErrOpen] unless insecure, which is for what is served over TLS too. A Unix socket is
// for its owner alone; one that a dead service left behind is replaced.
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
			return nil, fmt.Errorf("listen on %s: %w (use 127.0.0.1 or %s, or serve TLS, with a certificate, its key and "+
				"the clients' authority; insecure opens it to everybody who can reach it)", address, err, DefaultSocket)
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
