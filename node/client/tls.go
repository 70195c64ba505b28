package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Options say how a node is reached over TCP. The zero value: without TLS, but for addresses that begin with https://.
type Options struct {
	CA        string // file of PEM: the authorities of nodes; empty: those of this machine
	Cert, Key string // files of PEM: what this client shows of itself; both or none
}

// untrusted is why the two ends do not trust each other, found out before anything was asked.
type untrusted struct{ text string }

func (u untrusted) Error() string { return u.text }

// config is TLS as o has it.
func (o Options) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("authorities of nodes: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("authorities of nodes: %s holds no certificate in PEM", o.CA)
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("a client's certificate and its key go together (give both, or none)")
	}
	if o.Cert == "" {
		return c, nil
	}
	own, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with the key %s: %w", o.Cert, o.Key, err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if now := time.Now(); now.Before(own.Leaf.NotBefore) || now.After(own.Leaf.NotAfter) {
			return nil, untrusted{fmt.Sprintf("the certificate %s is valid from %s to %s, and this machine's clock says %s "+
				"(renew it, or set the clock)", o.Cert, stamp(own.Leaf.NotBefore), stamp(own.Leaf.NotAfter), stamp(now))}
		}
		return &own, nil // whatever authorities the node names: its refusal then says more than silence
	}
	return c, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// lookTime bounds how long it may take to find out why a node is not trusted, or does not trust.
const lookTime = 3 * time.Second

// distrust is why the two ends do not trust each other, if that is what err comes from; empty if not. It may connect
// once more: a node's refusal of a certificate can get lost in what a call leaves behind.
func (c *Client) distrust(ctx context.Context, err error) string {
	var own untrusted
	var bad *tls.CertificateVerificationError
	var dial *net.OpError
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	switch {
	case errors.As(err, &own):
		return own.text
	case errors.As(err, &bad):
		return c.doubt(ctx, bad)
	case errors.As(err, &dial) && dial.Op == "dial":
		return ""
	case c.tls == nil && strings.Contains(err.Error(), "400 Bad Request") && c.secure(ctx):
		return "the node speaks TLS there (give its authority, a client certificate and its key)"
	case c.tls == nil:
		return ""
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return "the node does not speak TLS there (ask it without, if that is meant)"
	}
	return c.refused(ctx)
}

// refused is what the node has against this client's certificate; empty if it takes it.
func (c *Client) refused(ctx context.Context) string {
	config := c.tls.Clone()
	config.NextProtos = []string{"h2"} // its server speaks first
	conn, err := c.dialTLS(ctx, config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	switch text := fmt.Sprint(err); {
	case strings.Contains(text, "tls: certificate required"):
		return "the node wants to know who calls (give a client certificate and its key)"
	case strings.Contains(text, "tls: bad certificate"), strings.Contains(text, "tls: unknown certificate"):
		own, err := c.tls.GetClientCertificate(nil)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("the node does not accept the certificate %q by %q (it is of another authority than those that "+
			"the node knows, or not for clients)", own.Leaf.Subject, own.Leaf.Issuer)
	}
	return ""
}

// doubt is what is wrong with the node's certificate.
func (c *Client) doubt(ctx context.Context, bad *tls.CertificateVerificationError) string {
	leaf := bad.UnverifiedCertificates[0]
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(bad.Err, &name):
		return fmt.Sprintf("the node's certificate is for %s, not for %s (use such a name, or have the certificate made "+
			"for this one)", names(leaf), name.Host)
	case errors.As(bad.Err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the node's certificate, or its authority's, is out of its time: it is valid from %s to %s; "+
			"this machine's clock says %s, and the node's %s (renew it, or set the clock that is wrong)",
			stamp(leaf.NotBefore), stamp(leaf.NotAfter), stamp(time.Now()), c.clock(ctx))
	case errors.As(bad.Err, new(x509.UnknownAuthorityError)):
		return fmt.Sprintf("the node's certificate %q is by %q, an authority that this client does not know (is it the "+
			"node that is meant? then give its authority)", leaf.Subject, leaf.Issuer)
	}
	return fmt.Sprintf("the node's certificate %q is not accepted: %v", leaf.Subject, bad.Err)
}

func names(leaf *x509.Certificate) string {
	all := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all"
	}
	return strings.Join(all, ", ")
}

// clock is what time it is at a node whose certificate is good but for the time.
func (c *Client) clock(ctx context.Context) string {
	const unknown = "is not known"
	config := c.tls.Clone()
	config.InsecureSkipVerify = true // verified below, as of the time in which it was valid
	config.VerifyConnection = func(s tls.ConnectionState) error {
		leaf, between := s.PeerCertificates[0], x509.NewCertPool()
		for _, ca := range s.PeerCertificates[1:] {
			between.AddCert(ca)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: config.RootCAs, Intermediates: between, DNSName: s.ServerName,
			CurrentTime: leaf.NotBefore})
		return err
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialTLS(ctx, config) }}}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, c.base, http.NoBody)
	if err != nil {
		return unknown
	}
	answer, err := h.Do(r)
	if err != nil {
		return unknown
	}
	defer answer.Body.Close()
	at, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return unknown
	}
	return stamp(at)
}

// dialTLS connects to the node, with the handshake.
func (c *Client) dialTLS(ctx context.Context, config *tls.Config) (net.Conn, error) {
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: config}).DialContext(ctx, "tcp",
		strings.TrimPrefix(c.base, "https://"))
	if err != nil {
		return nil, err
	}
	if at, limited := ctx.Deadline(); limited {
		err = conn.SetDeadline(at)
	}
	return conn, err
}

// secure reports whether a node that was asked without TLS speaks TLS.
func (c *Client) secure(ctx context.Context) bool {
	asks := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // nothing is said, and nothing is believed
	conn, err := (&tls.Dialer{Config: asks}).DialContext(ctx, "tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
