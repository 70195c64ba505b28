package image

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PolicyFile is where a machine's policy is.
const PolicyFile = "/etc/pawl/signature-policy.json"

// Errors of signatures and of the policy that asks for them.
var (
	// ErrUnsigned is returned when a policy wants a signature and there is none. Do: sign the image, or use one that
	// is.
	ErrUnsigned = errors.New("it is not signed")
	// ErrWrongKey is returned when there are signatures, and none is by a key that the policy wants. Do: ask who signed
	// it.
	ErrWrongKey = errors.New("no signature is by the key that the policy wants")
	// ErrWrongSubject is returned when the right key signed something else. Do: never use the image; sign it if it is
	// yours.
	ErrWrongSubject = errors.New("the signature is one of another digest")
	// ErrPolicy is returned when a policy cannot be read, or names no keys for a reference. Do: mend the policy.
	// Nothing is accepted meanwhile.
	ErrPolicy = errors.New("the signature policy does not allow it")
)

// Policy says which keys must have signed which images. Once there is one, it holds for every image: one that no rule
// names is refused. As a file it is JSON:
//
//	{"rules": [
//	  {"references": ["registry.example.com/os", "registry.example.com/team/*"], "keys": ["release.pub"]},
//	  {"references": ["oci:/srv/images/*"], "keys": ["a.pub", "b.pub"], "signatures": 1}
//	]}
//
// A reference is a repository as Open takes it, without tag and digest; one that ends in "*" names all that begin so.
// The first rule that names an image decides. Keys are PEM files, relative to the policy's directory, or PEM itself.
type Policy struct {
	Rules []Rule `json:"rules"`
}

// Rule is one rule of a policy.
type Rule struct {
	References []string `json:"references"`
	Keys       []string `json:"keys"`                 // ECDSA, Ed25519 or RSA of 2048 bits and more
	Signatures int      `json:"signatures,omitempty"` // how many of the keys must have signed; 0 is all of them

	keys []publicKey
}

// publicKey is a key and how it is called.
type publicKey struct {
	name string
	crypto.PublicKey
}

// maxPolicy bounds the policy and each key file.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy and its keys. Whatever is not understood makes it ErrPolicy. A file that is not there wraps
// [fs.ErrNotExist] too.
func ReadPolicy(path string) (*Policy, error) {
	data, err := readFileAtMost(path)
	if err != nil {
		return nil, fmt.Errorf("read signature policy: %w: %w", err, ErrPolicy)
	}
	var p Policy
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("read signature policy %s: %w: %w", path, err, ErrPolicy)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("read signature policy %s: something follows its end: %w", path, ErrPolicy)
	}
	for n := range p.Rules {
		if err := p.Rules[n].load(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("read signature policy %s: rule %d: %w: %w", path, n+1, err, ErrPolicy)
		}
	}
	return &p, nil
}

// MachinePolicy reads this machine's policy, PolicyFile; without such a file it is nil, which asks for nothing. A file
// that is there and cannot be read is an error, not nil.
func MachinePolicy() (*Policy, error) {
	if _, err := os.Lstat(PolicyFile); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ReadPolicy(PolicyFile)
}

func readFileAtMost(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, maxPolicy)
}

func (r *Rule) load(dir string) error {
	switch {
	case len(r.References) == 0:
		return errors.New("it names no references")
	case len(r.Keys) == 0:
		return errors.New("it names no keys")
	case r.Signatures < 0 || r.Signatures > len(r.Keys):
		return fmt.Errorf("%d signatures of %d keys are wanted", r.Signatures, len(r.Keys))
	}
	for _, ref := range r.References {
		if strings.Contains(strings.TrimSuffix(ref, "*"), "*") || ref == "" {
			return fmt.Errorf("reference %q: a star can only be its end", ref)
		}
	}
	r.keys = nil
	seen := map[string]bool{}
	for _, k := range r.Keys {
		name, data := "the key in the policy", []byte(k)
		if !strings.HasPrefix(k, "-----BEGIN ") {
			path := k
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			pem, err := readFileAtMost(path)
			if err != nil {
				return fmt.Errorf("key: %w", err)
			}
			name, data = k, pem
		}
		key, der, err := parseKey(data)
		if err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		if seen[der] {
			return fmt.Errorf("key %s is there twice", name)
		}
		seen[der] = true
		r.keys = append(r.keys, publicKey{name, key})
	}
	return nil
}

func parseKey(data []byte) (key crypto.PublicKey, der string, err error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New(`want one PEM block "PUBLIC KEY"`)
	}
	key, err = x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, "", err
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, "", fmt.Errorf("RSA of %d bits, want 2048 at least", k.N.BitLen())
		}
	default:
		return nil, "", fmt.Errorf("%T: want ECDSA, Ed25519 or RSA", key)
	}
	return key, string(block.Bytes), nil
}

// rule is the first that names the repository.
func (p *Policy) rule(repository string) (*Rule, error) {
	for n := range p.Rules {
		for _, ref := range p.Rules[n].References {
			if rest, hub := strings.CutPrefix(ref, "docker.io/"); hub {
				ref = "index.docker.io/" + rest // as Open spells it
			}
			prefix, open := strings.CutSuffix(ref, "*")
			if ref == repository || (open && strings.HasPrefix(repository, prefix)) {
				if len(p.Rules[n].keys) == 0 { // made by hand, not by ReadPolicy
					if err := p.Rules[n].load("."); err != nil {
						return nil, fmt.Errorf("%w: %w", err, ErrPolicy)
					}
				}
				return &p.Rules[n], nil
			}
		}
	}
	return nil, fmt.Errorf("no rule names %s: %w", repository, ErrPolicy)
}

// signed tells whether the key made the signature of the message.
func (k publicKey) signed(message, signature []byte) bool {
	short := sha256.Sum256(message)
	switch key := k.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, short[:], signature) {
			return true
		}
		switch bits := key.Curve.Params().BitSize; { // newer programs hash as long as the key is
		case bits > 384:
			long := sha512.Sum512(message)
			return ecdsa.VerifyASN1(key, long[:], signature)
		case bits > 256:
			long := sha512.Sum384(message)
			return ecdsa.VerifyASN1(key, long[:], signature)
		}
	case ed25519.PublicKey:
		if ed25519.Verify(key, message, signature) {
			return true
		}
		// What cosign v3 makes beside the payload: Ed25519ph, of RFC 8032.
		long := sha512.Sum512(message)
		return ed25519.VerifyWithOptions(key, long[:], signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, short[:], signature) == nil
	}
	return false
}
