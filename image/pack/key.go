package pack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"
)

// ErrPassword is returned for a key that is encrypted and a password that is missing or wrong. Do: give the right one.
var ErrPassword = errors.New("the password does not open the key")

// ReadKey reads a private key for Sign: one PEM block, PKCS #8, as openssl writes ECDSA and RSA keys, or as cosign
// encrypts its keys with a password (nil: there is none).
func ReadKey(path string, password *string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(data, password)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return key, nil
}

func parseKey(data []byte, password *string) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is no PEM file")
	}
	der := block.Bytes
	var key any
	var err error
	switch block.Type {
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		if der, err = decrypt(der, password); err != nil {
			return nil, err
		}
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	default:
		return nil, fmt.Errorf("it is %q: want a private key that is not encrypted, or one that cosign encrypted",
			block.Type)
	}
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("RSA of %d bits, want 2048 at least", k.N.BitLen())
		}
		return k, nil
	}
	return nil, fmt.Errorf("%T: want ECDSA, Ed25519 or RSA", key)
}

// maxScrypt bounds the memory that a key may ask for: 128 bytes times N times r. cosign's own ask for 64 MiB.
const maxScrypt = 256 << 20

// decrypt opens what cosign encrypts a key to: JSON that names scrypt with its parameters and a nacl secretbox.
// Specification: go-securesystemslib, package encrypted.
func decrypt(data []byte, password *string) ([]byte, error) {
	var e struct {
		KDF struct {
			Name   string                `json:"name"`
			Params struct{ N, R, P int } `json:"params"`
			Salt   []byte                `json:"salt"`
		} `json:"kdf"`
		Cipher struct {
			Name  string `json:"name"`
			Nonce []byte `json:"nonce"`
		} `json:"cipher"`
		Ciphertext []byte `json:"ciphertext"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("it is encrypted, but not as cosign does: %w", err)
	}
	n, r, p := e.KDF.Params.N, e.KDF.Params.R, e.KDF.Params.P
	var nonce [24]byte
	switch {
	case e.KDF.Name != "scrypt" || e.Cipher.Name != "nacl/secretbox" || len(e.Cipher.Nonce) != len(nonce):
		return nil, fmt.Errorf("it is encrypted with %q and %q, want scrypt and nacl/secretbox", e.KDF.Name,
			e.Cipher.Name)
	case n < 1 || r < 1 || p < 1 || r > maxScrypt/128 || n > maxScrypt/128/r || p > 16:
		return nil, fmt.Errorf("it asks for scrypt with N=%d, r=%d, p=%d, more than cosign ever does", n, r, p)
	case password == nil:
		return nil, fmt.Errorf("it is encrypted, and no password is known: %w", ErrPassword)
	}
	derived, err := scrypt.Key([]byte(*password), e.KDF.Salt, n, r, p, 32)
	if err != nil {
		return nil, err
	}
	copy(nonce[:], e.Cipher.Nonce)
	der, ok := secretbox.Open(nil, e.Ciphertext, &nonce, (*[32]byte)(derived))
	if !ok {
		return nil, ErrPassword
	}
	return der, nil
}
