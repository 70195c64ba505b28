package api

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// secured is a node over TLS, its files, and its clock.
type secured struct {
	t    *testing.T
	ca   certs.Authority
	dir  string
	addr net.Addr
	stub *stub

	control *access.Control
	logger  *slog.Logger

	mu  sync.Mutex
	at  time.Time
	log strings.Builder
}

func (s *secured) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *secured) clock(to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = to
}

func (s *secured) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *secured) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// write replaces a file at once, as whoever renews certificates does.
func (s *secured) write(name string, data []byte) {
	beside := filepath.Join(s.dir, "new")
	require.NoError(s.t, os.WriteFile(beside, data, 0o600))
	require.NoError(s.t, os.Rename(beside, filepath.Join(s.dir, name)))
}

func authority(t *testing.T, now time.Time) certs.Authority {
	ca, err := certs.NewAuthority("test", certs.Term{Now: now, Life: 365 * 24 * time.Hour})
	require.NoError(t, err)
	return ca
}

func secure(t *testing.T, roles string) *secured {
	s := &secured{t: t, dir: t.TempDir(), at: time.Now(), stub: dull(t)}
	s.ca = authority(t, s.at)
	s.write("ca.crt", s.ca.CertPEM())
	s.node(s.ca, "127.0.0.1")
	o := access.Options{Cert: filepath.Join(s.dir, "node.crt"), Key: filepath.Join(s.dir, "node.key"),
		ClientCA: filepath.Join(s.dir, "ca.crt"), Now: s.now, Log: slog.New(slog.NewTextHandler(s, nil))}
	if roles != "" {
		o.Roles = filepath.Join(s.dir, "roles")
		s.write("roles", []byte(roles))
	}
	control, err := access.New(o)
	require.NoError(t, err)
	require.NoError(t, control.Ready())
	s.control, s.logger = control, o.Log
	s.addr = served(t, newAPI(s.stub, Options{Access: control, Log: o.Log}), "127.0.0.1:0")
	return s
}

// node gives the node another certificate.
func (s *secured) node(ca certs.Authority, names ...string) {
	p, err := ca.Node(names, certs.Term{Now: s.now(), Life: 90 * 24 * time.Hour})
	require.NoError(s.t, err)
	key, err := p.KeyPEM()
	require.NoError(s.t, err)
	s.write("node.key", key)
	s.write("node.crt", p.CertPEM())
}

func (s *secured) pair(ca certs.Authority, organization string, life time.Duration) certs.Pair {
	p, err := ca.Client("alice", organization, certs.Term{Now: s.now(), Life: life})
	require.NoError(s.t, err)
	return p
}

// client connects with a certificate, and believes a node of any of the authorities.
func (s *secured) client(p certs.Pair, believed ...certs.Authority) *http.Client {
	roots := x509.NewCertPool()
	for _, ca := range append(believed, s.ca) {
		roots.AddCert(ca.Cert)
	}
	mine := &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Time: s.now,
		ClientSessionCache:   tls.NewLRUClientSessionCache(4),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return mine, nil }}}
	h := &http.Client{Transport: transport}
	s.t.Cleanup(h.CloseIdleConnections)
	return h
}

func (s *secured) url() string { return "https://" + s.addr.String() }

// version asks for what everybody may know, and reports whether it went over a connection that was open already.
func (s *secured) version(h *http.Client) (reused bool, err error) {
	ctx := httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	})
	_, err = pawlv1.NewNodeClient(h, s.url()).Version(ctx, &pawlv1.VersionRequest{})
	return reused, err
}

// handshake connects as h does, and returns what the node has against it. In TLS 1.3 that comes after a client has done
// its part.
func (s *secured) handshake(h *http.Client) error {
	c := h.Transport.(*http.Transport).TLSClientConfig.Clone()
	c.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", s.addr.String(), c)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1)) // the settings of HTTP/2
	return err
}

func TestEveryMethodByEveryRoleOverTLS(t *testing.T) {
	s := secure(t, "")
	for organization, role := range map[string]access.Role{
		"pawl:reader": access.Reader, "pawl:operator": access.Operator, "pawl:admin": access.Admin,
		"os:reader": access.Reader, "os:operator": access.Operator, "os:admin": access.Admin,
		"admin": access.None, "os:impersonator": access.None, "": access.None,
	} {
		t.Run(organization, func(t *testing.T) {
			everyMethod(t, s.client(s.pair(s.ca, organization, time.Hour)), s.url(), role)
		})
	}
	t.Run("gRPC", func(t *testing.T) {
		c := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:reader", time.Hour)), s.url(), connect.WithGRPC())
		_, err := c.Version(t.Context(), &pawlv1.VersionRequest{})
		require.NoError(t, err)
		_, err = c.Reboot(t.Context(), &pawlv1.RebootRequest{})
		require.Equal(t, "denied", kindOf(t, err))
	})
	t.Run("without TLS", func(t *testing.T) {
		_, said := post(t, s.addr, "Version", "{}", nil)
		require.Contains(t, said, "HTTP request to an HTTPS server")
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		_, err := tls.Dial("tcp", s.addr.String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		require.ErrorContains(t, err, "protocol version")
	})
}

func TestForeignCertificatesEndTheHandshake(t *testing.T) {
	s := secure(t, "")
	other := authority(t, s.now())
	server, err := s.ca.Node([]string{"node2"}, certs.Term{Now: s.now(), Life: time.Hour})
	require.NoError(t, err)
	for name, p := range map[string]certs.Pair{
		"another authority's": s.pair(other, "pawl:admin", time.Hour),
		"one for servers":     server,
		"an authority itself": other.Pair,
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, s.handshake(s.client(p)), "bad certificate")
		})
	}
	t.Run("none", func(t *testing.T) {
		h := s.client(server)
		h.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = nil
		require.ErrorContains(t, s.handshake(h), "certificate required")
	})
}

func TestAnOpenConnectionIsRefusedOnceItsCertificateIsNotGoodAnyMore(t *testing.T) {
	t.Run("it has expired", func(t *testing.T) {
		s := secure(t, "")
		h := s.client(s.pair(s.ca, "pawl:admin", time.Hour))
		_, err := s.version(h)
		require.NoError(t, err)
		s.clock(s.now().Add(2 * time.Hour))
		reused, err := s.version(h)
		require.True(t, reused)
		require.Equal(t, "caller-unknown", kindOf(t, err))
		require.ErrorContains(t, err, "the node's clock says "+s.now().UTC().Format(time.RFC3339))
		t.Run("and a new connection is told so", func(t *testing.T) {
			h.CloseIdleConnections()
			reused, err := s.version(h)
			require.False(t, reused)
			require.ErrorContains(t, err, "is out of its time: it is valid from")
		})
	})
	t.Run("its authority is removed", func(t *testing.T) {
		s := secure(t, "")
		old, next := s.ca, authority(t, s.now())
		h := s.client(s.pair(old, "pawl:admin", time.Hour))
		_, err := s.version(h)
		require.NoError(t, err)
		s.write("ca.crt", append(next.CertPEM(), old.CertPEM()...))
		s.node(next, "127.0.0.1")
		reused, err := s.version(h)
		require.True(t, reused)
		require.NoError(t, err, "both authorities are accepted")
		s.write("ca.crt", next.CertPEM())
		reused, err = s.version(h)
		require.True(t, reused)
		require.Equal(t, "caller-unknown", kindOf(t, err))
		require.ErrorContains(t, err, "unknown authority")
		require.ErrorContains(t, s.handshake(s.client(s.pair(old, "pawl:admin", time.Hour), next)), "bad certificate")
		_, err = s.version(s.client(s.pair(next, "pawl:admin", time.Hour), next))
		require.NoError(t, err, "the rotation needed no restart")
	})
	t.Run("its line is deleted", func(t *testing.T) {
		s := secure(t, "# nobody yet\n")
		p := s.pair(s.ca, "pawl:admin", time.Hour)
		h := s.client(p)
		_, err := s.version(h)
		require.Equal(t, "denied", kindOf(t, err), "with a file of roles, the organization says nothing")
		s.write("roles", []byte(access.Fingerprint(p.Cert)+" reader # alice\n"))
		reused, err := s.version(h)
		require.True(t, reused)
		require.NoError(t, err)
		s.write("roles", []byte("# gone\n"))
		_, err = s.version(h)
		require.Equal(t, "denied", kindOf(t, err))
	})
}

func TestBadNewFilesKeepTheOldOnesAndWarn(t *testing.T) {
	s := secure(t, "organization:ops admin\n")
	h := s.client(s.pair(s.ca, "ops", time.Hour))
	client, err := s.pair(s.ca, "ops", time.Hour).KeyPEM()
	require.NoError(t, err)
	for name, test := range map[string]struct {
		data []byte
		says string
	}{
		"node.crt": {[]byte("half a"), "failed to find any PEM data"},
		"node.key": {client, "does not match public key"},
		"ca.crt":   {nil, "want certificates of authorities"},
		"roles":    {[]byte("organization:ops root\n"), `line 1: role \"root\"`},
	} {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(filepath.Join(s.dir, name))
			require.NoError(t, err)
			s.write(name, test.data)
			for range 3 {
				h.CloseIdleConnections()
				_, err = s.version(h)
				require.NoError(t, err)
			}
			require.Equal(t, 1, strings.Count(s.said(), test.says), s.said())
			require.Contains(t, s.said(), "the new certificates are not used; the old ones are")
			s.write(name, good)
			_, err = s.version(h)
			require.NoError(t, err)
			require.Contains(t, s.said(), "certificates are read again")
		})
	}
}

func TestNoConnectionIsResumed(t *testing.T) {
	s := secure(t, "")
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	for range 3 {
		r, err := h.Get(s.url())
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.False(t, r.TLS.DidResume)
		require.Equal(t, "h2", r.TLS.NegotiatedProtocol)
		h.CloseIdleConnections()
	}
}

// A machine without a clock of its own boots in 1970.
func TestAClockThatWasNeverSetLetsCertificatesIn(t *testing.T) {
	s := secure(t, "")
	now := s.now()
	h := s.client(s.pair(s.ca, "pawl:admin", time.Hour))
	old := s.client(s.pair(s.ca, "pawl:admin", time.Minute))
	later, err := s.ca.Client("bob", "pawl:reader", certs.Term{Now: now.Add(30 * time.Minute), Life: time.Hour})
	require.NoError(t, err)
	h.Transport.(*http.Transport).TLSClientConfig.Time = func() time.Time { return now }
	old.Transport.(*http.Transport).TLSClientConfig.Time = func() time.Time { return now }
	new := s.client(later)
	new.Transport.(*http.Transport).TLSClientConfig.Time = func() time.Time { return now }
	s.clock(time.Unix(7, 0))
	for _, h := range []*http.Client{h, old, new} {
		_, err := s.version(h)
		require.NoError(t, err)
	}
	_, err = s.version(old)
	require.ErrorContains(t, err, "out of its time", "a later certificate was seen, so its minute is over")
	_, err = s.version(h)
	require.NoError(t, err)
	s.clock(now.Add(2 * time.Hour)) // it is set
	_, err = s.version(h)
	require.ErrorContains(t, err, "out of its time")
}

func TestANameOfTheCertificateIsANameOfTheNode(t *testing.T) {
	s := secure(t, "")
	s.node(s.ca, "127.0.0.1", "node7.example.com")
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	for host, status := range map[string]int{"node7.example.com": 200, "node8.example.com": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url()+"/pawl.v1.Node/Version",
			strings.NewReader("{}"))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Host = host
		answer, err := h.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, status, answer.StatusCode)
	}
}
