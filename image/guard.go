package image

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// errLed is the error of a request to where a registry must not lead.
var errLed = errors.New("a registry may not lead there")

// guarded carries the requests of one endpoint. A registry names other hosts, for its blobs and its tokens; they are
// asked only
//
//   - over TLS, once the registry itself has answered over TLS;
//   - at an address that is no nearer to this machine than the registry's: one on the internet leads to none inside
//     this network, and none leads to this machine or its link (where clouds keep their metadata), unless it is there
//     itself. What counts is the address that is connected to, whatever a name stands for by then;
//   - for what has no body, since that may hold credentials.
type guarded struct {
	host  string            // of the registry, as in URLs
	own   http.RoundTripper // to the registry
	other http.RoundTripper // to hosts that it names

	secure atomic.Bool  // it has answered over TLS
	near   atomic.Int32 // its distance; 0 while not known
}

// newGuarded guards what base carries. Addresses are looked at only if base is an *http.Transport.
func newGuarded(host string, base http.RoundTripper) *guarded {
	g := &guarded{host: host, own: base, other: base}
	if t, ok := base.(*http.Transport); ok {
		t = t.Clone()
		t.DialContext = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second,
			Control: g.control}).DialContext
		g.other = t
	}
	return g
}

// RoundTrip does one request.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	own := r.URL.Host == g.host
	switch {
	case g.secure.Load() && r.URL.Scheme != "https":
		return g.refuse(r, "without TLS")
	case !own && r.Response != nil && r.Body != nil && r.Body != http.NoBody:
		return g.refuse(r, "with what was meant for another host")
	case !own && proxy(g.other, r):
		return g.own.RoundTrip(r) // to the proxy, which knows what it lets through
	case !own:
		return g.other.RoundTrip(r)
	}
	if proxy(g.own, r) {
		g.near.Store(int32(site)) // how far it is behind the proxy is not known
	} else {
		r = r.WithContext(httptrace.WithClientTrace(r.Context(),
			&httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
				if at, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String()); err == nil {
					g.near.Store(int32(distanceOf(at.Addr())))
				}
			}}))
	}
	response, err := g.own.RoundTrip(r)
	if err == nil && r.URL.Scheme == "https" {
		g.secure.Store(true)
	}
	return response, err
}

func (g *guarded) refuse(r *http.Request, how string) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, fmt.Errorf("%s leads to %s %s: %w", g.host, r.URL.Redacted(), how, errLed)
}

// control refuses a connection before it is made.
func (g *guarded) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if to := distanceOf(at.Addr()); int32(to) < g.near.Load() {
		return fmt.Errorf("%s, which is %s, leads to %s, %s: %w", g.host, distance(g.near.Load()), address, to, errLed)
	}
	return nil
}

// proxy reports whether a transport asks a proxy for this request.
func proxy(t http.RoundTripper, r *http.Request) bool {
	direct, ok := t.(*http.Transport)
	if !ok || direct.Proxy == nil {
		return false
	}
	at, err := direct.Proxy(r)
	return err == nil && at != nil
}

// distance is how far an address is from this machine.
type distance int32

const (
	host     distance = 1 + iota // this machine, or no single one
	link                         // its link
	site                         // the network that it is in
	internet                     // all else
)

func (d distance) String() string {
	return [...]string{"", "on this machine", "on this machine's link", "inside this network", "on the internet"}[d]
}

// inside are the networks of a site that netip does not call private: shared by a provider's customers, kept for
// measurements, and IPv6's site-local addresses of old.
var inside = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("fec0::/10"),
}

// carriers are prefixes of IPv6 addresses that lead to an IPv4 address, and the byte at which it begins.
var carriers = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12, netip.MustParsePrefix("64:ff9b:1::/48"): 12,
	netip.MustParsePrefix("2002::/16"): 2, netip.MustParsePrefix("::/96"): 12,
}

func distanceOf(a netip.Addr) distance {
	a = a.Unmap().WithZone("")
	switch {
	case a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return host
	case a.IsLinkLocalUnicast():
		return link
	case a.IsPrivate():
		return site
	}
	for _, p := range inside {
		if p.Contains(a) {
			return site
		}
	}
	for p, at := range carriers {
		if p.Contains(a) {
			whole := a.As16()
			return distanceOf(netip.AddrFrom4([4]byte(whole[at : at+4])))
		}
	}
	return internet
}
