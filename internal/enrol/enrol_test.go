package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/certs"
)

func authority(t *testing.T) certs.Authority {
	ca, err := certs.NewAuthority("fleet", certs.Term{Now: time.Now(), Life: 1000 * time.Hour})
	require.NoError(t, err)
	return ca
}

// served is an offer that is served, and what came of it.
type served struct {
	*Offer
	address string
	ended   chan error
	cert    *x509.Certificate
}

func serve(t *testing.T, o *Offer) *served {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &served{o, l.Addr().String(), make(chan error, 1), nil}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		var err error
		s.cert, _, err = o.Serve(ctx, l)
		s.ended <- err
	}()
	t.Cleanup(cancel)
	return s
}

func offer(t *testing.T, ca certs.Authority, expires time.Duration) *Offer {
	o, err := NewOffer(ca, []string{"node1.example.com", "10.0.0.1"}, 90*24*time.Hour, expires)
	require.NoError(t, err)
	return o
}

func TestANodeGetsItsCertificateOnce(t *testing.T) {
	ca := authority(t)
	for _, algorithm := range []certs.Algorithm{certs.Ed25519, certs.P256} {
		s := serve(t, offer(t, ca, time.Minute))
		token, err := ParseToken(" " + s.Token.String() + "\n")
		require.NoError(t, err)
		got, err := Join(t.Context(), s.address, token, algorithm)
		require.NoError(t, err)
		require.NoError(t, <-s.ended)
		require.Equal(t, got.Pair.Cert.Raw, s.cert.Raw)
		require.Equal(t, ca.Cert.Raw, got.Authority.Raw)
		require.Equal(t, []string{"node1.example.com"}, got.Pair.Cert.DNSNames)
		require.Len(t, got.Pair.Cert.IPAddresses, 1)
		require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, got.Pair.Cert.ExtKeyUsage)
		here, err := Fingerprint(got.Pair.Key.Public())
		require.NoError(t, err)
		there, err := Fingerprint(s.cert.PublicKey)
		require.NoError(t, err)
		require.Equal(t, here, there)
		_, err = Join(t.Context(), s.address, token, algorithm)
		require.Error(t, err, "nobody listens any more")
	}
}

func TestATokenIsGoodOnceUntilItExpires(t *testing.T) {
	ca := authority(t)
	t.Run("used twice", func(t *testing.T) {
		o := offer(t, ca, time.Minute)
		o.used = true // another was first, and the service has not ended yet
		s := serve(t, o)
		_, err := Join(t.Context(), s.address, s.Token, certs.Ed25519)
		require.ErrorContains(t, err, "was used already; if not by this node")
		require.Empty(t, s.ended)
	})
	t.Run("whoever was first", func(t *testing.T) {
		o := offer(t, ca, time.Minute)
		key, err := certs.Ed25519.NewKey()
		require.NoError(t, err)
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		require.NoError(t, err)
		ask := func() (int, error) {
			body, err := json.Marshal(request{Secret: o.Token.secret[:], Request: csr})
			require.NoError(t, err)
			_, status, err := o.issue(httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
			return status, err
		}
		_, err = ask()
		require.NoError(t, err)
		status, err := ask()
		require.ErrorContains(t, err, "was used already")
		require.Equal(t, http.StatusConflict, status)
	})
	t.Run("a request that is none uses up nothing", func(t *testing.T) {
		o := offer(t, ca, time.Minute)
		for _, body := range []string{"", "{", `{"request":"AAAA"}`} {
			_, status, err := o.issue(httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
			require.Error(t, err)
			require.GreaterOrEqual(t, status, 400)
		}
		body, err := json.Marshal(request{Secret: o.Token.secret[:], Request: []byte{1}})
		require.NoError(t, err)
		_, _, err = o.issue(httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
		require.ErrorContains(t, err, "the certificate request: ")
		require.False(t, o.used)
	})
	t.Run("two at once", func(t *testing.T) {
		s := serve(t, offer(t, ca, time.Minute))
		results := make(chan error, 8)
		for range cap(results) {
			go func() {
				_, err := Join(t.Context(), s.address, s.Token, certs.Ed25519)
				results <- err
			}()
		}
		good := 0
		for range cap(results) {
			if err := <-results; err == nil {
				good++
			}
		}
		require.Equal(t, 1, good)
		require.NoError(t, <-s.ended)
	})
	t.Run("expired", func(t *testing.T) {
		o := offer(t, ca, time.Minute)
		o.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		s := serve(t, o)
		_, err := Join(t.Context(), s.address, s.Token, certs.Ed25519)
		require.ErrorContains(t, err, "the token has expired")
	})
	t.Run("nobody comes", func(t *testing.T) {
		s := serve(t, offer(t, ca, 50*time.Millisecond))
		require.ErrorIs(t, <-s.ended, ErrExpired)
	})
	t.Run("another offer's", func(t *testing.T) {
		s, other := serve(t, offer(t, ca, time.Minute)), offer(t, ca, time.Minute)
		_, err := Join(t.Context(), s.address, other.Token, certs.Ed25519)
		require.ErrorContains(t, err, "another one than that of this offer")
		_, err = Join(t.Context(), s.address, s.Token, certs.Ed25519)
		require.NoError(t, err, "which does not use it up")
	})
}

// Who stands between has no certificate of the authority that the token names.
func TestANodeTellsItsSecretToNobodyElse(t *testing.T) {
	ca, foreign := authority(t), authority(t)
	mine := offer(t, ca, time.Minute)
	between := serve(t, offer(t, foreign, time.Minute))
	_, err := Join(t.Context(), between.address, mine.Token, certs.Ed25519)
	require.ErrorContains(t, err, "not of the authority that the token names")
	require.Empty(t, between.ended)

	t.Run("a certificate of it that is for something else", func(t *testing.T) {
		stolen, err := ca.Node([]string{"node2"}, certs.Term{Now: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		_, err = mine.Token.verify([]*x509.Certificate{stolen.Cert, ca.Cert}, time.Now())
		require.ErrorContains(t, err, "not enrol.pawl.internal")
	})
	t.Run("a leaf of another authority beside it", func(t *testing.T) {
		leaf, err := foreign.Node([]string{serverName}, certs.Term{Now: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		_, err = mine.Token.verify([]*x509.Certificate{leaf.Cert, ca.Cert}, time.Now())
		require.Error(t, err)
	})
}

// A machine without a clock of its own starts in 1970.
func TestANodeWhoseClockWasNeverSetCanJoin(t *testing.T) {
	ca := authority(t)
	leaf, err := ca.Node([]string{serverName}, certs.Term{Now: time.Now(), Life: time.Hour})
	require.NoError(t, err)
	_, err = newToken(ca.Cert).verify([]*x509.Certificate{leaf.Cert, ca.Cert}, time.Unix(7, 0))
	require.NoError(t, err)
	_, err = newToken(ca.Cert).verify([]*x509.Certificate{leaf.Cert, ca.Cert}, time.Now().Add(2*time.Hour))
	require.ErrorContains(t, err, "expired")
}

func TestWhatIsNoToken(t *testing.T) {
	good := newToken(authority(t).Cert).String()
	for _, text := range []string{"", "pawl1.", good[1:], good[:len(good)-1], good + "A", "pawl2." + good[6:],
		good[:20] + "!" + good[21:]} {
		_, err := ParseToken(text)
		require.ErrorContains(t, err, "that is no token")
	}
	_, err := NewOffer(authority(t), []string{"node 1"}, time.Hour, time.Hour)
	require.ErrorContains(t, err, "want a DNS name")
}
