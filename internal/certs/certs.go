// Package certs makes and keeps the certificates of a small authority: its own, those of nodes and those of clients.
// Start with [NewAuthority] and [Authority.Node].
//
// Keys are Ed25519. What a certificate says comes from the caller and never from a request that somebody signed.
package certs

import (
	"crypto"
	"crypto/ed25519"
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
func NewAuthority(name string, now time.Time, life time.Duration) (Authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	p, err := sign(template, nil, now, life)
	return Authority{p}, err
}

// Node makes a node's certificate. It is for servers only, so that a stolen one orders nothing from other nodes. Names
// are DNS names and addresses; the first is the subject's.
func (a Authority) Node(names []string, now time.Time, life time.Duration) (Pair, error) {
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return Pair{}, err
		}
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
		} else {
			template.DNSNames = append(template.DNSNames, strings.ToLower(name))
		}
	}
	if len(names) == 0 {
		return Pair{}, errors.New("a node's certificate needs a name or an address by which clients call it")
	}
	template.Subject.CommonName = names[0]
	return sign(template, &a, now, life)
}

// Client makes a client's certificate, which says its role in the subject's organization.
func (a Authority) Client(name, organization string, now time.Time, life time.Duration) (Pair, error) {
	if err := checkPerson(name); err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return sign(template, &a, now, life)
}

// sign makes a pair from what template says; an authority signs, or the pair itself.
func sign(template *x509.Certificate, by *Authority, now time.Time, life time.Duration) (Pair, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, err
	}
	template.NotBefore, template.NotAfter = now.Add(-skew).UTC(), now.Add(life).UTC()
	issuer := Pair{template, key}
	if by != nil {
		issuer = by.Pair
		template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
		if err := by.outlives(template); err != nil {
			return Pair{}, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Cert, public, issuer.Key)
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return Pair{cert, key}, err
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

// checkPerson refuses what is no name of a client: it is a file's name too.
func checkPerson(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@"
	if name == "" || len(name) > 64 || name[0] == '.' || strings.Trim(name, letters) != "" {
		return fmt.Errorf("client %q: want a name of at most 64 letters, digits, and any of -_.@", name)
	}
	return nil
}
