// Package certs makes and keeps the certificates of a small authority: its own, those of nodes and those of clients.
// Start with [NewAuthority] and [Authority.Node]; [Files] keeps what they make.
//
// It guarantees that names and addresses are ones by which a machine can be called, that no certificate outlives its
// authority, and that one for nodes is not for clients. What a certificate says comes from the caller and never from a
// request that somebody signed. It revokes nothing: see docs/how-to/tls.md. Certificates follow RFC 5280.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"
)

// skew is how much earlier than now a certificate begins: clocks differ.
const skew = 5 * time.Minute

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Algorithm is what kind of key a pair has.
type Algorithm string

// The algorithms. Browsers take no Ed25519.
const (
	Ed25519 Algorithm = "ed25519" // also when it is empty
	P256    Algorithm = "p256"    // ECDSA on that curve
)

// NewKey makes a key.
func (a Algorithm) NewKey() (crypto.Signer, error) {
	switch a {
	case Ed25519, "":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, fmt.Errorf("algorithm %q: want %s or %s", string(a), Ed25519, P256)
}

// Term says how long a certificate is valid, and what key it has.
type Term struct {
	Now       time.Time
	Life      time.Duration // from Now
	Algorithm Algorithm     // of the key; a renewed certificate keeps its key
}

// CertPEM is the certificate as a PEM file.
func (p Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
}

// KeyPEM is the key as a PEM file, in PKCS #8.
func (p Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Authority signs certificates.
type Authority struct{ Pair }

// NewAuthority makes an authority, which signs itself.
func NewAuthority(name string, term Term) (Authority, error) {
	if err := checkPerson(name); err != nil {
		return Authority{}, fmt.Errorf("authority: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	p, err := pair(template, nil, term)
	return Authority{p}, err
}

// Node makes a node's certificate. It is for servers only, so that a stolen one orders nothing from other nodes. Names
// are DNS names and addresses; the first is the subject's.
func (a Authority) Node(names []string, term Term) (Pair, error) {
	template, err := nodeTemplate(names)
	if err != nil {
		return Pair{}, err
	}
	return pair(template, &a, term)
}

// NodeOf makes a node's certificate as Node does, for a key of which it has the public half.
func (a Authority) NodeOf(public any, names []string, term Term) (*x509.Certificate, error) {
	template, err := nodeTemplate(names)
	if err != nil {
		return nil, err
	}
	return sign(template, public, &a, a.Key, term)
}

func nodeTemplate(names []string) (*x509.Certificate, error) {
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
		} else {
			template.DNSNames = append(template.DNSNames, strings.ToLower(name))
		}
	}
	if len(names) == 0 {
		return nil, errors.New("a node's certificate needs a name or an address by which clients call it")
	}
	template.Subject.CommonName = commonName(names[0])
	return template, nil
}

// commonName is a name for people in a subject, which holds at most 64 characters; clients look at the other names.
func commonName(name string) string { return name[:min(len(name), 64)] }

// Client makes a client's certificate, which says its role in the subject's organization.
func (a Authority) Client(name, organization string, term Term) (Pair, error) {
	if err := checkPerson(name); err != nil {
		return Pair{}, fmt.Errorf("client: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return pair(template, &a, term)
}

// Renew makes a certificate that says what old says, for the same key and another time. Old is one of this authority's,
// and may be over. A life of zero is as long as old's was.
func (a Authority) Renew(old *x509.Certificate, term Term) (*x509.Certificate, error) {
	switch {
	case old.IsCA:
		return nil, fmt.Errorf("%q is an authority, which is not renewed but followed by another", old.Subject)
	case old.CheckSignatureFrom(a.Cert) != nil:
		return nil, fmt.Errorf("%q is by %q, another authority than this one, %q", old.Subject, old.Issuer,
			a.Cert.Subject)
	}
	if term.Life == 0 {
		term.Life = old.NotAfter.Sub(old.NotBefore) - skew
	}
	template := &x509.Certificate{Subject: old.Subject, DNSNames: old.DNSNames, IPAddresses: old.IPAddresses,
		URIs: old.URIs, ExtKeyUsage: old.ExtKeyUsage}
	return sign(template, old.PublicKey, &a, a.Key, term)
}

// pair makes a pair from what template says; an authority signs, or the pair itself.
func pair(template *x509.Certificate, by *Authority, term Term) (Pair, error) {
	key, err := term.Algorithm.NewKey()
	if err != nil {
		return Pair{}, err
	}
	signer := key
	if by != nil {
		signer = by.Key
	}
	cert, err := sign(template, key.Public(), by, signer, term)
	return Pair{cert, key}, err
}

// sign makes the certificate of a public key from what template says; without an authority it signs itself.
func sign(template *x509.Certificate, public any, by *Authority, signer crypto.Signer,
	term Term) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = term.Now.Add(-skew).UTC(), term.Now.Add(term.Life).UTC()
	issuer := template
	if by != nil {
		issuer = by.Cert
		template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
		if err := by.outlives(template); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// outlives cuts a certificate's life at its authority's, and refuses what has no life left.
func (a Authority) outlives(template *x509.Certificate) error {
	if template.NotBefore.Before(a.Cert.NotBefore) {
		template.NotBefore = a.Cert.NotBefore
	}
	if template.NotAfter.After(a.Cert.NotAfter) {
		template.NotAfter = a.Cert.NotAfter
	}
	if !template.NotBefore.Before(template.NotAfter) {
		return fmt.Errorf("the authority is valid from %s to %s, which leaves no time (is this machine's clock right? "+
			"else make a new authority)", stamp(a.Cert.NotBefore), stamp(a.Cert.NotAfter))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// CheckName refuses what is neither a DNS name nor an address.
func CheckName(name string) error {
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip.Zone() != "" || ip.IsUnspecified() {
			return fmt.Errorf("address %q: want one that others call, without a zone", name)
		}
		return nil
	}
	bad := fmt.Errorf("name %q: want a DNS name such as node1.example.com, or an address (no port, no wildcard)", name)
	if len(name) == 0 || len(name) > 253 || allDigits(name[strings.LastIndex(name, ".")+1:]) {
		return bad // a name that ends in a number is an address gone wrong
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Trim(label, "-") != label ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return bad
		}
	}
	return nil
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// checkPerson refuses what is no name of a client or an authority: it is a file's name too.
func checkPerson(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@"
	if name == "" || len(name) > 64 || name[0] == '.' || strings.Trim(name, letters) != "" {
		return fmt.Errorf("name %q: want at most 64 letters, digits, and any of -_.@", name)
	}
	return nil
}
