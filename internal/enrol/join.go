package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/foreign"
)

// maxTold bounds what the other end says is wrong, in bytes.
const maxTold = 512

// Joined is what a node has got.
type Joined struct {
	Pair      certs.Pair
	Authority *x509.Certificate // that signed it: the one that the token names
}

// Join fetches the certificate that is offered at an address, HOST:PORT, for a new key.
func Join(ctx context.Context, address string, t Token, algorithm certs.Algorithm) (Joined, error) {
	key, err := algorithm.NewKey()
	if err != nil {
		return Joined{}, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return Joined{}, err
	}
	body, err := json.Marshal(request{Secret: t.secret[:], Request: csr})
	if err != nil {
		return Joined{}, err
	}
	var ca *x509.Certificate
	h := &http.Client{Timeout: callTime, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: serverName,
		InsecureSkipVerify: true, //nolint:gosec // the token says who it is
		VerifyConnection: func(s tls.ConnectionState) (err error) {
			ca, err = t.verify(s.PeerCertificates, time.Now())
			return err
		},
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return Joined{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	reply, err := h.Do(r)
	if err != nil {
		return Joined{}, fmt.Errorf("join %s: %w", address, err)
	}
	defer reply.Body.Close()
	said, err := io.ReadAll(io.LimitReader(reply.Body, maxBody))
	if err == nil && reply.StatusCode != http.StatusOK {
		err = errors.New(foreign.Text(strings.TrimSpace(string(said)), maxTold))
	}
	if err != nil {
		return Joined{}, fmt.Errorf("join %s: %w", address, err)
	}
	var got answer
	if err := json.Unmarshal(said, &got); err != nil {
		return Joined{}, fmt.Errorf("join %s: the answer cannot be read: %w", address, err)
	}
	cert, err := x509.ParseCertificate(got.Cert)
	if err != nil {
		return Joined{}, fmt.Errorf("join %s: %w", address, err)
	}
	same, err := sameKey(cert.PublicKey, key.Public())
	if err == nil && !same {
		err = errors.New("the certificate is for another key than this node's")
	}
	if err == nil {
		err = cert.CheckSignatureFrom(ca)
	}
	if err != nil {
		return Joined{}, fmt.Errorf("join %s: %w", address, err)
	}
	return Joined{certs.Pair{Cert: cert, Key: key}, ca}, nil
}

func sameKey(a, b any) (bool, error) {
	one, err1 := Fingerprint(a)
	other, err2 := Fingerprint(b)
	return one == other, errors.Join(err1, err2)
}

// verify returns the authority that t names, which stands for the other end. A clock that is earlier than the
// certificate was never set: that the token is still good is the other end's to know.
func (t Token) verify(chain []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore
	}
	for _, ca := range chain[1:] {
		if sha256.Sum256(ca.Raw) != t.authority {
			continue
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca)
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: serverName, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		return ca, err
	}
	return nil, errors.New("what answers there is not of the authority that the token names (is it the right address? " +
		"was the token changed?)")
}
