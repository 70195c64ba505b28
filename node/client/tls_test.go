package client

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/certs"
)

// files puts a pair into files beside each other.
func files(t *testing.T, p certs.Pair) (cert, key string) {
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	pem, err := p.KeyPEM()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cert, p.CertPEM(), 0o600))
	require.NoError(t, os.WriteFile(key, pem, 0o600))
	return cert, key
}

// nodeOverTLS answers with a certificate for names, to clients of an authority.
func nodeOverTLS(t *testing.T, p certs.Pair, clients certs.Authority) string {
	pool := x509.NewCertPool()
	pool.AddCert(clients.Cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "Thu, 02 Jan 2031 03:04:05 GMT")
		w.Header().Set("Content-Type", "application/proto")
	}))
	s.EnableHTTP2, s.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientCAs: pool, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}

func TestWhyTheTwoEndsDoNotTrustEachOther(t *testing.T) {
	now := time.Now()
	ca, err := certs.NewAuthority("fleet", certs.Term{Now: now.Add(-48 * time.Hour), Life: 365 * 24 * time.Hour})
	require.NoError(t, err)
	other, err := certs.NewAuthority("other", certs.Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	node := func(by certs.Authority, name string, from time.Time, life time.Duration) certs.Pair {
		p, err := by.Node([]string{name}, certs.Term{Now: from, Life: life})
		require.NoError(t, err)
		return p
	}
	person := func(by certs.Authority, from time.Time, life time.Duration) certs.Pair {
		p, err := by.Client("alice", "pawl:reader", certs.Term{Now: from, Life: life})
		require.NoError(t, err)
		return p
	}
	good, mine := node(ca, "127.0.0.1", now, time.Hour), person(ca, now, time.Hour)
	over := now.Add(-25 * time.Hour)
	for name, test := range map[string]struct {
		node, mine certs.Pair
		ca         certs.Authority // that the client knows
		scheme     string
		without    bool // a client certificate
		says       []string
	}{
		"they do": {node: good, mine: mine, ca: ca},
		"an authority that the client does not know": {node: good, mine: mine, ca: other,
			says: []string{`"CN=127.0.0.1" is by "CN=fleet"`, "does not know"}},
		"another name": {node: node(ca, "node7.lan", now, time.Hour), mine: mine, ca: ca,
			says: []string{"is for node7.lan, not for 127.0.0.1"}},
		"the node's has expired": {node: node(ca, "127.0.0.1", over, time.Hour), mine: mine, ca: ca,
			says: []string{"to " + stamp(over.Add(time.Hour)), "this machine's clock says " + stamp(now)[:13],
				"and the node's 2031-01-02T03:04:05Z"}},
		"the client's has expired": {node: good, mine: person(ca, over, time.Hour), ca: ca,
			says: []string{"crt is valid from ", "to " + stamp(over.Add(time.Hour)), "this machine's clock says "}},
		"a client's authority that the node does not know": {node: good, mine: person(other, now, time.Hour), ca: ca,
			says: []string{`does not accept the certificate "CN=alice,O=pawl:reader" by "CN=other"`}},
		"no client certificate": {node: good, mine: mine, ca: ca, without: true,
			says: []string{"give a client certificate"}},
		"without TLS": {node: good, mine: mine, ca: ca, scheme: "http://", says: []string{"the node speaks TLS there"}},
	} {
		t.Run(name, func(t *testing.T) {
			address := nodeOverTLS(t, test.node, ca)
			o := Options{}
			o.CA, _ = files(t, test.ca.Pair)
			if o.Cert, o.Key = files(t, test.mine); test.without {
				o.Cert, o.Key = "", ""
			}
			c, err := Open(test.scheme+address, o)
			require.NoError(t, err)
			_, err = c.Version(t.Context())
			if len(test.says) == 0 {
				require.NoError(t, err)
				return
			}
			require.Equal(t, Untrusted, ErrorKind(err), "%v", err)
			for _, text := range test.says {
				require.ErrorContains(t, err, text)
			}
			_, err = c.AwaitAnswer(t.Context(), func(why error) { require.Fail(t, "it is waited for", "%v", why) })
			require.Equal(t, Untrusted, ErrorKind(err))
		})
	}
	t.Run("a node without TLS", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(s.Close)
		c, err := Open(strings.Replace(s.URL, "http:", "https:", 1), Options{})
		require.NoError(t, err)
		_, err = c.Version(t.Context())
		require.Equal(t, Untrusted, ErrorKind(err))
		require.ErrorContains(t, err, "does not speak TLS")
	})
}

func TestFilesOfAClientThatAreWrong(t *testing.T) {
	ca, err := certs.NewAuthority("fleet", certs.Term{Now: time.Now(), Life: time.Hour})
	require.NoError(t, err)
	cert, key := files(t, ca.Pair)
	for says, o := range map[string]Options{
		"go together":          {Cert: cert},
		"no such file":         {CA: cert + "x"},
		"holds no certificate": {CA: key},
		"certificate " + key:   {Cert: key, Key: key},
		"file or directory":    {Cert: cert, Key: key + "x"},
	} {
		_, err := Open("node1", o)
		require.ErrorContains(t, err, says)
		_, err = Open("unix:/s", o)
		require.NoError(t, err, "a socket has no TLS")
	}
	_, err = Open("ftp://node1", Options{})
	require.ErrorContains(t, err, "is no address")
}
