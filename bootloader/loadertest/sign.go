package loadertest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"github.com/pawl-os/pawl/bootloader/authenticode"
)

// Key is a key that signs programs for EFI, with its certificate: RSA, as firmware knows it, and short, to be made
// fast.
type Key struct {
	Certificate *x509.Certificate

	key *rsa.PrivateKey
}

// NewKey makes a key whose certificate has that name and was issued by itself.
func NewKey(name string) (Key, error) { return Key{}.Issue(name, func(*x509.Certificate) {}) }

// Issue makes a key whose certificate k issued. change is what the certificate is to say beside its name.
func (k Key) Issue(name string, change func(*x509.Certificate)) (Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // for tests, which make many
	if err != nil {
		return Key{}, err
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	change(c)
	if k.key == nil {
		k = Key{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, k.Certificate, &key.PublicKey, k.key)
	if err != nil {
		return Key{}, err
	}
	c, err = x509.ParseCertificate(der)
	return Key{c, key}, err
}

// Sign returns a program with a signature by k behind it; the certificates of others come with it.
func (k Key) Sign(image []byte, with ...Key) ([]byte, error) {
	certs := []*x509.Certificate{k.Certificate}
	for _, other := range with {
		certs = append(certs, other.Certificate)
	}
	return authenticode.Sign(image, k.key, certs...)
}
