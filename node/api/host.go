package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// ErrHost is returned over the API for a request that a web page made, or one to a name that is not the node's: a page
// whose name was made to point at the node would look so. Do: use the node's address, or tell the node that name.
var ErrHost = errors.New("the request is not for this node")

// forUs refuses what a browser may have been talked into.
func (a *API) forUs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := a.checkHost(r.Host)
		if len(r.Header.Values("Origin")) > 0 && !ownPage(r) {
			err = fmt.Errorf("a web page asks: %w (use pawl, or another program)", ErrHost)
		}
		if err != nil {
			a.audit.refused(r.Context(), r, err)
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownPage reports whether the page at /ui asks, over TLS: there a caller's certificate says who it is, and checkHost
// that the name of the page is the node's.
func ownPage(r *http.Request) bool {
	origin, site := r.Header.Values("Origin"), r.Header.Get("Sec-Fetch-Site")
	return r.TLS != nil && len(origin) == 1 && strings.EqualFold(origin[0], "https://"+r.Host) &&
		(site == "" || site == "same-origin")
}

// checkHost refuses a host that is no address, nor localhost, nor a name of this node.
func (a *API) checkHost(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	names := a.ownNames()
	if named(names, host) {
		return nil
	}
	return fmt.Errorf("%.100q is no name of this node, whose names are %s: %w (use its address, or give the service "+
		"that name)", host, strings.Join(names, ", "), ErrHost)
}

func (a *API) ownNames() []string {
	names := slices.Concat([]string{"localhost"}, a.names, a.access.Names())
	if own, err := os.Hostname(); err == nil { // each time: it may be set late in a boot
		names = append(names, own)
	}
	return names
}

func named(names []string, host string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) })
}

// isHere reports whether host is a name of this node, an address of its certificate, or one that this machine has.
func (a *API) isHere(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return named(a.ownNames(), strings.TrimSuffix(host, "."))
	}
	same := func(own net.IP) bool {
		other, ok := netip.AddrFromSlice(own)
		return ok && other.Unmap() == ip.Unmap().WithZone("")
	}
	if slices.ContainsFunc(a.access.Addresses(), same) {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(n net.Addr) bool {
		ipnet, ok := n.(*net.IPNet)
		return ok && same(ipnet.IP)
	})
}
