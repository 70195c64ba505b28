package access

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/pawl-os/pawl/internal/foreign"
)

// maxSubject bounds the subject of a certificate as it is told, in bytes.
const maxSubject = 256

// Secure reports whether TCP is TLS.
func (c *Control) Secure() bool { return c.files != nil }

// Ready reads the files of TLS, and says why they cannot be used; without TLS it has nothing to read.
func (c *Control) Ready() error {
	if !c.Secure() {
		return nil
	}
	_, err := c.files.now()
	return err
}

// Names are the DNS names by which clients may call the node: those of its certificate.
func (c *Control) Names() []string {
	if !c.Secure() {
		return nil
	}
	b, err := c.files.now()
	if err != nil {
		return nil // and then no request comes so far
	}
	return b.own.Leaf.DNSNames
}

// Addresses are those that this node's certificate gives it; none without TLS.
func (c *Control) Addresses() []net.IP {
	if !c.Secure() {
		return nil
	}
	b, err := c.files.now()
	if err != nil {
		return nil // and then no request comes so far
	}
	return b.own.Leaf.IPAddresses
}

// TLS is how a listener of TCP is to be wrapped: TLS 1.3 with a certificate of both ends. The files are looked at in
// each handshake. Nobody is let in by a ticket of an earlier connection.
func (c *Control) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true,
		ClientAuth: tls.RequireAnyClientCert, // VerifyConnection has Go verify it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			b, err := c.files.now()
			if err != nil {
				return nil, err
			}
			return &b.own, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error { return c.admit(s.PeerCertificates) },
	}
}

// admit ends a handshake with a foreign certificate. One of ours that is out of time gets in, to be told so in words at
// its request: a handshake can only say no.
func (c *Control) admit(chain []*x509.Certificate) error {
	b, err := c.files.now()
	if err != nil {
		return err
	}
	err = b.verify(chain, c.timeFor(b, chain[0]))
	if outOfTime(err) {
		err = b.verify(chain, chain[0].NotBefore)
	}
	return err
}

// outOfTime reports whether a certificate is good but for the time.
func outOfTime(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// remote is who a certificate says. It is verified afresh: the connection may be older than the removal of its authority
// or the end of its time.
func (c *Control) remote(r *http.Request) (Caller, error) {
	b, err := c.files.now()
	if err != nil {
		return Caller{}, fmt.Errorf("no certificates can be judged: %w: %w", err, ErrUnknown)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Caller{}, fmt.Errorf("there is no client certificate: %w (give one)", ErrUnknown)
	}
	chain := r.TLS.PeerCertificates
	leaf := chain[0]
	who := Caller{Name: foreign.Text(leaf.Subject.String(), maxSubject), From: host(r.RemoteAddr)}
	at := c.timeFor(b, leaf)
	switch err := b.verify(chain, at); {
	case outOfTime(err):
		return Caller{}, fmt.Errorf("the certificate %q, or its authority's, is out of its time: it is valid from %s to "+
			"%s, and the node's clock says %s: %w (renew it, or set the clock)", who.Name, stamped(leaf.NotBefore),
			stamped(leaf.NotAfter), stamped(at), ErrUnknown)
	case err != nil:
		return Caller{}, fmt.Errorf("the certificate %q is not accepted: %w: %w (get one from an authority that the "+
			"node knows)", who.Name, err, ErrUnknown)
	}
	c.learn(b, leaf.NotBefore)
	if b.roles != nil {
		who.Role = b.roles.role(leaf)
	} else {
		who.Role = organizationRole(leaf.Subject.Organization)
	}
	return who, nil
}

func stamped(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// organizationRole is the greatest role that an organization of a subject names.
func organizationRole(names []string) (role Role) {
	for _, name := range names {
		for _, r := range ranks[1:] {
			if name == r.Organization() || name == "os:"+string(r) { // Talos' names: one authority serves both
				role = greater(role, r)
			}
		}
	}
	return role
}

// Fingerprint is how a file of roles names a certificate: "sha256:" and 64 hex digits of its DER bytes.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// timeFor is the time to judge a certificate by. A clock that is behind the node's own certificate, or behind this build,
// was never set: many machines boot in 1970. Then it is as late as what the node knows, and no earlier than the
// certificate's own beginning, for which its authority stands.
func (c *Control) timeFor(b *bundle, leaf *x509.Certificate) time.Time {
	now := c.now()
	if !now.Before(b.floor) {
		return now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range []time.Time{b.floor, c.known, leaf.NotBefore} {
		if t.After(now) {
			now = t
		}
	}
	return now
}

// learn takes the beginning of a certificate that was verified as a time that has come, while the clock is not set.
func (c *Control) learn(b *bundle, t time.Time) {
	if !c.now().Before(b.floor) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.known) {
		c.known = t
	}
}

// built is when this program's source was committed, as Go's build recorded it; zero if it did not.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
			return t
		}
	}
	return time.Time{}
}
