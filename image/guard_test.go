package image

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"
)

func TestHowFarAnAddressIs(t *testing.T) {
	for address, want := range map[string]distance{
		"127.0.0.1": host, "127.9.9.9": host, "::1": host, "0.0.0.0": host, "::": host, "0.1.2.3": host,
		"255.255.255.255": host, "224.0.0.1": host,
		"::ffff:127.0.0.1": host, "64:ff9b::7f00:1": host, "2002:7f00:1::": host, "::127.0.0.1": host,
		"169.254.169.254": link, "fe80::1": link, "::ffff:169.254.169.254": link, "64:ff9b::a9fe:a9fe": link,
		"2002:a9fe:a9fe::": link,
		"10.0.0.1":         site, "172.16.0.1": site, "192.168.1.1": site, "100.64.0.1": site, "198.18.0.1": site,
		"fd00:ec2::254": site, "fec0::1": site, "64:ff9b::a00:1": site,
		"8.8.8.8": internet, "172.32.0.1": internet, "2606:4700::1111": internet, "64:ff9b::808:808": internet,
	} {
		require.Equal(t, want, distanceOf(netip.MustParseAddr(address)), address)
	}
}

// from is a guard over a server's transport, as if the registry were at that distance.
func from(t *testing.T, s *httptest.Server, d distance) *http.Client {
	t.Helper()
	at, err := url.Parse(s.URL)
	require.NoError(t, err)
	base := s.Client().Transport.(*http.Transport).Clone()
	base.Proxy = nil
	g := newGuarded(at.Host, base)
	g.own = afterwards{base, func() { g.near.Store(int32(d)) }}
	return &http.Client{Transport: g, CheckRedirect: checkRedirect}
}

// afterwards calls f after each request.
type afterwards struct {
	http.RoundTripper
	f func()
}

func (a afterwards) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.RoundTripper.RoundTrip(r)
	a.f()
	return response, err
}

func TestARegistryLeadsToNothingNearerThanItself(t *testing.T) {
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	}))
	defer registry.Close()
	for name, c := range map[string]struct {
		from distance
		to   string
		is   string // empty: led there
	}{
		"internet to loopback":              {internet, inside.URL, "which is on the internet, leads to 127.0.0.1"},
		"internet to a name for loopback":   {internet, "http://localhost:" + port, "on this machine"},
		"internet to the cloud's metadata":  {internet, "http://169.254.169.254/latest", "on this machine's link"},
		"internet to a private address":     {internet, "http://10.255.255.1:9/x", "inside this network"},
		"internet to all addresses":         {internet, "http://0.0.0.0:" + port, "on this machine"},
		"inside to loopback":                {site, inside.URL, "which is inside this network, leads to 127.0.0.1"},
		"inside to the cloud's metadata":    {site, "http://169.254.169.254/latest", "on this machine's link"},
		"this machine to another port here": {host, inside.URL, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked = 0
			response, err := from(t, registry, c.from).Get(registry.URL + "/v2/?to=" + url.QueryEscape(c.to))
			if c.is == "" {
				require.NoError(t, err)
				response.Body.Close()
				require.Equal(t, 1, asked)
				return
			}
			require.ErrorContains(t, err, c.is)
			require.Zero(t, asked)
			require.ErrorIs(t, err, errLed)
			require.ErrorIs(t, unreachable(err), ErrUnreachable)
			require.NotErrorAs(t, unreachable(err), new(temporary), "another try does not help")
		})
	}
}

func TestARegistryWithTLSLeadsToNothingWithout(t *testing.T) {
	asked := 0
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer plain.Close()
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/blob" {
			http.Redirect(w, r, plain.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer registry.Close()
	client := from(t, registry, host)
	client.CheckRedirect = nil // the guard stands by itself
	response, err := client.Get(registry.URL)
	require.NoError(t, err)
	response.Body.Close()
	_, err = client.Get(registry.URL + "/blob")
	require.ErrorContains(t, err, "without TLS")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plain.URL+"/token",
		nil) // as a challenge may name it
	require.NoError(t, err)
	_, err = client.Do(request)
	require.ErrorIs(t, err, errLed)
	require.Zero(t, asked)
}

func TestWhatIsSentIsNotSentOnToAnotherHost(t *testing.T) {
	var got bytes.Buffer
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_,
			_ = io.Copy(&got, r.Body)
	}))
	defer thief.Close()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect) // has the body sent again
	}))
	defer tokens.Close()
	_, err := from(t, tokens, host).Post(tokens.URL, "text/plain", strings.NewReader("refresh_token=secret"))
	require.ErrorIs(t, err, errLed)
	require.Empty(t, got.String())
}

func TestCredentialsStayWithTheRegistry(t *testing.T) {
	var seen []string
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"), r.Header.Get("Cookie"))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer thief.Close()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/v2/":
			http.Redirect(w, r, thief.URL+"/"+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}))
	defer registry.Close()
	_, err := Open(context.Background(), strings.TrimPrefix(registry.URL, "http://")+"/os:v1",
		Options{Keychain: somebody{}, Retry: Retry{Attempts: 1}})
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, []string{"", ""}, seen)
}

// somebody has a name and a password for every registry.
type somebody struct{}

func (somebody) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "u", Password: "secret"}, nil
}
