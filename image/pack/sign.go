package pack

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pawl-os/pawl/image/format"
)

// Sign signs b as "cosign sign --key" does, with an ECDSA, Ed25519 or RSA key, and tags the signature
// "sha256-<hex>.sig" in the layout. Push takes it along under that tag. reference is the repository that the signature
// names, for people; it may be empty. A signature that was there is replaced. Specification: cosign,
// specs/SIGNATURE_SPEC.md.
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
	config, err := l.addJSON(v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{digest}}},
		types.OCIConfigJSON)
	if err != nil {
		return err
	}
	d, err := l.addJSON(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config,
		Layers: []v1.Descriptor{{
			MediaType: format.SimpleSigningType, Size: size, Digest: digest,
			Annotations: map[string]string{format.SignatureAnnotation: base64.StdEncoding.EncodeToString(signature)},
		}},
	}, types.OCIManifestSchema1)
	if err != nil {
		return err
	}
	return l.Tag(format.SignatureTag(b.Digest), Built{Digest: d.Digest.String(), Version: b.Version, descriptor: d})
}
