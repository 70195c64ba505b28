package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/format"
)

// What cosign writes: the layer types of its signatures, the artifact types of manifests that refer to what they sign,
// and where a signature is. Specifications: cosign, specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md; DSSE, protocol.md;
// in-toto Statement v1.
const (
	bundleType          = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signatureType       = "application/vnd.dev.cosign.artifact.sig.v1+json"
	emptyType           = "application/vnd.oci.empty.v1+json"
	statementType       = "application/vnd.in-toto+json"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
	signPredicate       = "https://sigstore.dev/cosign/sign/v1"
)

// Limits on what is read to find a signature.
const (
	maxSignatures = 64
	maxSignature  = 1 << 20
)

// signer is a source that can hold signatures beside images.
type signer interface {
	// repository is the reference without tag and digest, as policies name it.
	repository() string
	// signatures returns manifests that may hold signatures of the manifest with that digest. None is no error.
	signatures(ctx context.Context, of v1.Hash) ([][]byte, error)
}

// claim is one signature: by whom is to be found out.
type claim struct {
	message   []byte // what was signed
	signature []byte
	digests   []string // what it says is signed, "sha256:..."
}

// checkSignatures holds the image to the policy.
func (i *Image) checkSignatures(ctx context.Context, digest v1.Hash) error {
	rule, err := i.options.Policy.rule(i.source.repository())
	if err != nil {
		return err
	}
	manifests, err := i.source.signatures(ctx, digest)
	if err != nil {
		return fmt.Errorf("look for signatures of %s: %w", digest, err)
	}
	var claims []claim
	for _, raw := range manifests {
		more, err := i.claims(ctx, raw, maxSignatures-len(claims))
		if err != nil {
			return fmt.Errorf("signatures of %s: %w", digest, err)
		}
		claims = append(claims, more...)
	}
	return rule.satisfied(claims, digest)
}

// satisfied tells why the claims are not enough, if they are not.
func (r *Rule) satisfied(claims []claim, digest v1.Hash) error {
	want := r.Signatures
	if want == 0 {
		want = len(r.keys)
	}
	have := 0
	var misses []error
	for _, k := range r.keys {
		if err := k.check(claims, digest); err != nil {
			misses = append(misses, err)
		} else {
			have++
		}
	}
	if have >= want {
		return nil
	}
	return fmt.Errorf("signatures of %s: %d of %d keys signed it, the policy wants %d: %w", digest, have, len(r.keys),
		want, errors.Join(misses...))
}

func (k publicKey) check(claims []claim, digest v1.Hash) error {
	if len(claims) == 0 {
		return fmt.Errorf("key %s: %w", k.name, ErrUnsigned)
	}
	err := fmt.Errorf("key %s: %w", k.name, ErrWrongKey)
	for _, c := range claims {
		if !k.signed(c.message, c.signature) {
			continue
		}
		for _, d := range c.digests {
			if d == digest.String() {
				return nil
			}
		}
		err = fmt.Errorf("key %s signed %s: %w", k.name, strings.Join(c.digests, ", "), ErrWrongSubject)
	}
	return err
}

// claims reads the signatures in one manifest. What is not a signature is passed over.
func (i *Image) claims(ctx context.Context, raw []byte, most int) ([]claim, error) {
	var m v1.Manifest
	if json.Unmarshal(raw, &m) != nil {
		return nil, nil
	}
	var found []claim
	for _, d := range m.Layers {
		isBundle := d.MediaType == bundleType
		if !isBundle && d.MediaType != format.SimpleSigningType {
			continue
		}
		if d.Size < 0 || d.Size > maxSignature {
			continue // no signature is as large; a statement with a list of packages is
		}
		if len(found) >= most {
			return nil, fmt.Errorf("more than %d of them: %w", maxSignatures, ErrUnsafe)
		}
		data, err := readSmall(ctx, i.source, d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Digest, err)
		}
		read := simpleSigning
		if isBundle {
			read = bundle
		}
		if c, ok := read(data, d.Annotations[format.SignatureAnnotation]); ok {
			found = append(found, c...)
		}
	}
	return found, nil
}

// simpleSigning is a payload whose signature stands in an annotation.
func simpleSigning(data []byte, annotation string) ([]claim, bool) {
	signature, err := base64.StdEncoding.DecodeString(annotation)
	if err != nil || annotation == "" {
		return nil, false
	}
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(data, &p); err != nil || p.Critical.Type != "cosign container image signature" {
		return nil, false
	}
	return []claim{{data, signature, []string{p.Critical.Image.Digest}}}, true
}

// bundle is a sigstore bundle that holds a signed statement. Only a statement that is a signature of an image counts:
// others, by the same key, may say anything of it.
func bundle(data []byte, _ string) ([]claim, bool) {
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(data, &b); err != nil || b.Envelope.Type != statementType {
		return nil, false
	}
	var s struct {
		Type      string `json:"_type"`
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(b.Envelope.Payload, &s); err != nil || s.Predicate != signPredicate ||
		!strings.HasPrefix(s.Type, "https://in-toto.io/Statement/") {
		return nil, false
	}
	var digests []string
	for _, subject := range s.Subject {
		digests = append(digests, "sha256:"+subject.Digest["sha256"])
	}
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(b.Envelope.Type), b.Envelope.Type, len(b.Envelope.Payload),
		b.Envelope.Payload)
	var out []claim
	for _, sig := range b.Envelope.Signatures {
		out = append(out, claim{message, sig.Sig, digests})
	}
	return out, len(out) > 0
}

// isSignature tells from what refers to an image whether it may be a signature. Some registries tell the type of the
// config instead, which is empty for a bundle.
func isSignature(d v1.Descriptor) bool {
	if says := d.Annotations[predicateAnnotation]; says != "" && says != signPredicate {
		return false // another statement
	}
	return d.ArtifactType == signatureType || d.ArtifactType == bundleType || d.ArtifactType == emptyType
}
