package pack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Sign signs b as "cosign sign --key" does, with an ECDSA, Ed25519 or RSA key, and tags the signature "sha256-<hex>.sig" in the layout. Push
// takes it along under that tag. reference is the repository that the signature names, for people; it may be empty. A
// signature that was there is replaced. Specification: cosign, specs/SIGNATURE_SPEC.md.
func (l *Layout) Sign(b Built, key crypto.Signer, reference string) error {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": reference},
			"image":    map[string]string{"docker-manifest-digest": b.Digest},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return fmt.Errorf("sign %s: %w", b.Digest, err)
	}
	signature, err := sign(key, payload)
	if err != nil {
		return fmt.Errorf("sign %s: %w", b.Digest, err)
	}
	if err := l.addSignature(b, payload, signature); err != nil {
		return fmt.Errorf("sign %s: %w", b.Digest, err)
	}
	return nil
}

func sign(key crypto.Signer, payload []byte) ([]byte, error) {
	if k, ok := key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(k, payload), nil
	}
	digest := sha256.Sum256(payload)
	return key.Sign(rand.Reader, digest[:], crypto.SHA256)
}

func (l *Layout) addSignature(b Built, payload, signature []byte) error {
	store, err := l.createBlob()
	if err != nil {
		return err
	}
	defer store.discard()
	if _, err := store.Write(payload); err != nil {
		return err
	}
	digest, size, err := store.commit()
	if err != nil {
		return err
	}
	config, err := l.addJSON(v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{digest}}}, types.OCIConfigJSON)
	if err != nil {
		return err
	}
	d, err := l.addJSON(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config,
		Layers: []v1.Descriptor{{
			MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Size: size, Digest: digest,
			Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)},
		}},
	}, types.OCIManifestSchema1)
	if err != nil {
		return err
	}
	return l.Tag(signatureTag(b), Built{Digest: d.Digest.String(), Version: b.Version, descriptor: d})
}

// signatureTag is where cosign looks for the signatures of b.
func signatureTag(b Built) string { return strings.ReplaceAll(b.Digest, ":", "-") + ".sig" }

// ReadKey reads a private key for Sign: one PEM block, PKCS #8 or as openssl writes ECDSA and RSA keys, not encrypted.
func ReadKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return key, nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is no PEM file")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it is %q: want a private key that is not encrypted; with cosign's own keys sign by `cosign sign --key`", block.Type)
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
