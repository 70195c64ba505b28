// Package enrol gives a new node its certificate over a network that is not trusted: an operator's machine, which has
// the authority, offers one for the names that the operator says, and the node fetches it with a token. Start with
// [NewOffer] and [Join].
//
// It guarantees that the node talks to the authority that the token names by its fingerprint, that the authority signs
// nothing for who does not know the token, that a token is good once and until it expires, and that the node's key
// never leaves the node. What the certificate says comes from the operator, and from the request its public key alone.
// Whoever gets the token first gets the certificate: both ends show the key's fingerprint, so that it can be compared.
//
// It follows RFC 2986 for requests; all else is this package's own.
package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	prefix     = "pawl1." // of tokens of this kind
	secretSize = 16       // bytes
)

// Token is what a node has to know to get its certificate, once.
type Token struct {
	authority [sha256.Size]byte // fingerprint
	secret    [secretSize]byte
}

func newToken(ca *x509.Certificate) (t Token) {
	t.authority = sha256.Sum256(ca.Raw)
	_, _ = rand.Read(t.secret[:]) // it never fails
	return t
}

// String is the token as it is handed on. It is a secret.
func (t Token) String() string {
	return prefix + base64.RawURLEncoding.EncodeToString(append(t.authority[:], t.secret[:]...))
}

// ParseToken reads a token.
func ParseToken(text string) (t Token, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	data, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(data) != len(t.authority)+len(t.secret) {
		return Token{}, errors.New("that is no token: want all that `pawl certs enrol` printed, from " + prefix + " on")
	}
	copy(t.authority[:], data)
	copy(t.secret[:], data[len(t.authority):])
	return t, nil
}

// Fingerprint names a public key, for people to compare: "sha256:" and 64 hex digits of its PKIX form.
func Fingerprint(key any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("fingerprint of a key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
