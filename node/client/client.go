// Package client talks to nodes that run Pawl, and waits for them to come back.
//
// Start with New and Client.Upgrade; Client.Wait then tells how it ended. Errors are *Error: they name the node, and
// their Kind is for programs.
//
// A lost connection does not end an upgrade, and Wait expects it. Boots are told apart by their boot id, versions by
// the digest of their image and the slot they run from, never by version strings. The package has no retries but those
// of Wait. TLS is [Open]'s.
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// DefaultPort is used for an address without a port.
const DefaultPort = "7295"

// dialTime bounds how long a connection may take to be made.
const dialTime = 5 * time.Second

// What a client takes of whatever answers at an address, in bytes: more than a node ever sends.
const (
	maxMessage = 4 << 20
	maxHeader  = 64 << 10
)

// Client talks to one node. It holds no connection between calls.
type Client struct {
	Node string // its address, as it was given
	rpc  pawlv1.NodeClient
	base string
	tls  *tls.Config // nil: without

	version atomic.Value // of the service there, as its latest answer said; a string
}

// unixBase is where a node is whose address is a Unix socket.
const unixBase = "http://node"

// New returns a client of the node at address: "HOST", "HOST:PORT" or "unix:PATH", with "https://" before it for TLS.
// Nothing is connected yet.
func New(address string) (*Client, error) { return Open(address, Options{}) }

// Open returns a client as New does. With any of the options TCP is TLS, but for addresses that begin with "http://".
func Open(address string, o Options) (*Client, error) {
	base, network, target := unixBase, "unix", ""
	scheme, host, given := strings.Cut(address, "://")
	if !given {
		scheme, host = "http", address
		if o != (Options{}) {
			scheme = "https"
		}
	} else if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("node %q is no address: want HOST, HOST:PORT, https://HOST or unix:PATH", address)
	}
	var config *tls.Config
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("node %q: unix: needs a path", address)
		}
		target = path
	} else {
		if host == "" || strings.ContainsAny(host, "/ @") {
			return nil, fmt.Errorf("node %q is no address: want HOST, HOST:PORT, https://HOST or unix:PATH", address)
		}
		network, target = "tcp", withPort(host)
		base = scheme + "://" + target
		if scheme == "https" {
			var err error
			if config, err = o.config(); err != nil {
				return nil, fmt.Errorf("node %q: %w", address, err)
			}
		}
	}
	dialer := &net.Dialer{Timeout: dialTime}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig:        config,
		DisableKeepAlives:      true, // the node at the other end may be another boot by the next call
		DisableCompression:     true, // a small answer can unpack to a very large one
		MaxResponseHeaderBytes: maxHeader,
	}
	c := &Client{Node: address, base: base, tls: config}
	h := &http.Client{Transport: hearing{transport, c}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	c.rpc = pawlv1.NewNodeClient(h, base, connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip",
		nil, nil))
	return c, nil
}

func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), DefaultPort)
}
