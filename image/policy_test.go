package image_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// The files below testdata/cosign were made by cosign v3.1.3: see TestMakeCosignFixtures.
const cosignDir = "testdata/cosign"

type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) {
	return types.OCIManifestSchema1, nil
}

// signedBy pushes the image of the fixtures and one fixture, with its manifest and blobs changed by change.
func signedBy(t *testing.T, r *testregistry.Registry, fixture string, change func(string) string) (pinned string) {
	t.Helper()
	pinned = push(t, r, filepath.Join(cosignDir, "image"))
	ref, err := name.NewDigest(pinned)
	require.NoError(t, err)
	if fixture == "" {
		return pinned
	}
	files, err := filepath.Glob(filepath.Join(cosignDir, fixture, "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	changed := map[string]string{} // digests
	for _, pass := range []string{".blob", ".manifest"} {
		for _, file := range files {
			base, ok := strings.CutSuffix(filepath.Base(file), pass)
			if !ok {
				continue
			}
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			text := change(string(raw))
			for old, now := range changed {
				text = strings.ReplaceAll(text, old, now)
			}
			if pass == ".blob" {
				layer := static.NewLayer([]byte(text), types.DockerLayer)
				require.NoError(t, remote.WriteLayer(ref.Context(), layer))
				require.Len(t, text, len(raw))
				changed[base] = digestOf([]byte(text)).Hex
				continue
			}
			var to name.Reference = ref.Context().Digest(digestOf([]byte(text)).String())
			if !strings.HasPrefix(base, "referrer-") {
				to = ref.Context().Tag(base)
			}
			require.NoError(t, remote.Put(to, rawManifest(text)))
		}
	}
	return pinned
}

func same(s string) string { return s }

// policy is a policy of one rule, by way of a file.
func policy(t *testing.T, references string, signatures int, keys ...string) *image.Policy {
	t.Helper()
	dir := t.TempDir()
	for _, k := range keys {
		data, err := os.ReadFile(filepath.Join(cosignDir, k))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, k), data, 0o600))
	}
	p := image.Policy{Rules: []image.Rule{{References: []string{references}, Keys: keys, Signatures: signatures}}}
	data, err := json.Marshal(p)
	require.NoError(t, err)
	file := filepath.Join(dir, "policy.json")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	read, err := image.ReadPolicy(file)
	require.NoError(t, err)
	return read
}

func TestSignaturesOfCosign(t *testing.T) {
	others := map[string]string{"ecdsa": "rsa.pub", "ed25519": "ecdsa.pub", "rsa": "ed25519.pub"}
	for key, other := range others {
		for _, how := range []string{"tag", "referrer", "bundle"} {
			t.Run(key+" by "+how, func(t *testing.T) {
				r := serve(t)
				ref := signedBy(t, r, key+"-"+how, same)
				o := options()
				o.Policy = policy(t, r.Host()+"/*", 0, key+".pub")
				_, err := pull(ref, o)
				require.NoError(t, err)

				o.Policy = policy(t, r.Host()+"/*", 0, other)
				_, err = pull(ref, o)
				require.ErrorIs(t, err, image.ErrWrongKey)
				require.ErrorContains(t, err, other)

				o.Policy = policy(t, r.Host()+"/*", 0, key+".pub", other)
				_, err = pull(ref, o)
				require.ErrorIs(t, err, image.ErrWrongKey, "all keys must have signed")
				o.Policy = policy(t, r.Host()+"/*", 1, key+".pub", other)
				_, err = pull(ref, o)
				require.NoError(t, err, "one of the keys is enough here")
			})
		}
	}
}

// flipped changes one character of the first base64 text of a signature, so that it is another signature.
func flipped(marker string) func(string) string {
	return func(s string) string {
		i := strings.Index(s, marker)
		if i < 0 {
			return s
		}
		i += len(marker) + 20
		c := byte('A')
		if s[i] == c {
			c = 'B'
		}
		return s[:i] + string(c) + s[i+1:]
	}
}

func TestSignaturesThatWereChanged(t *testing.T) {
	for fixture, marker := range map[string]string{
		"ecdsa-tag": `cosign/signature":"`, "rsa-referrer": `cosign/signature":"`, "ed25519-bundle": `{"sig":"`,
	} {
		t.Run(fixture, func(t *testing.T) {
			r := serve(t)
			ref := signedBy(t, r, fixture, flipped(marker))
			o := options()
			o.Policy = policy(t, r.Host()+"/*", 0, strings.Split(fixture, "-")[0]+".pub")
			_, err := pull(ref, o)
			require.ErrorIs(t, err, image.ErrWrongKey)
		})
	}
}

// A statement by the right key that is no signature, such as a note on how the image was built, is none.
func TestOtherStatementsAreNoSignatures(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for predicate, want := range map[string]error{"https://sigstore.dev/cosign/sign/v1": nil,
		"https://slsa.dev/provenance/v1": image.ErrUnsigned} {
		r := serve(t)
		ref, err := name.NewDigest(signedBy(t, r, "", same))
		require.NoError(t, err)
		const kind = "application/vnd.in-toto+json"
		payload := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q}`,
			strings.TrimPrefix(ref.DigestStr(), "sha256:"), predicate)
		digest := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload))
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		require.NoError(t, err)
		bundle := toJSON(t, map[string]any{"dsseEnvelope": map[string]any{
			"payload": []byte(payload), "payloadType": kind, "signatures": []any{map[string]any{"sig": sig}},
		}})
		const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		require.NoError(t, remote.WriteLayer(ref.Context(), static.NewLayer(bundle, bundleType)))
		m := toJSON(t, v1.Manifest{
			SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{MediaType: bundleType,
				Digest: digestOf(bundle)},
			Layers:  []v1.Descriptor{{MediaType: bundleType, Size: int64(len(bundle)), Digest: digestOf(bundle)}},
			Subject: &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: mustHash(t, ref.DigestStr())},
		})
		require.NoError(t, remote.Put(ref.Context().Digest(digestOf(m).String()), rawManifest(m)))
		o := options()
		o.Policy = &image.Policy{Rules: []image.Rule{{References: []string{r.Host() + "/os"}, Keys: []string{public}}}}
		_, err = pull(ref.String(), o)
		require.ErrorIs(t, err, want, predicate)
	}
}

func mustHash(t *testing.T, s string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(s)
	require.NoError(t, err)
	return h
}

func TestASignatureOfAnotherDigest(t *testing.T) {
	r := serve(t)
	signed, err := name.NewDigest(signedBy(t, r, "ecdsa-tag", same))
	require.NoError(t, err)
	other, _ := packed(t, 5000, 0)
	ref, err := name.NewDigest(push(t, r, other))
	require.NoError(t, err)
	// The good signature is hung on the other image.
	tag := func(d name.Digest) name.Tag {
		return d.Context().Tag(strings.ReplaceAll(d.DigestStr(), ":", "-") + ".sig")
	}
	m, err := remote.Get(tag(signed))
	require.NoError(t, err)
	require.NoError(t, remote.Put(tag(ref), rawManifest(m.Manifest)))
	o := options()
	o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
	_, err = pull(ref.String(), o)
	require.ErrorIs(t, err, image.ErrWrongSubject)
	require.ErrorContains(t, err, signed.DigestStr())
}

func TestAPolicyHoldsForEverything(t *testing.T) {
	r := serve(t)
	ref := signedBy(t, r, "", same)
	o := options()
	o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
	_, err := pull(ref, o)
	require.ErrorIs(t, err, image.ErrUnsigned)

	o.Policy = policy(t, "registry.example.com/os", 0, "ecdsa.pub")
	_, err = pull(ref, o)
	require.ErrorIs(t, err, image.ErrPolicy)
	require.ErrorContains(t, err, "no rule names "+r.Host()+"/os")

	here, err := filepath.Abs(".")
	require.NoError(t, err)
	o.Policy = policy(t, "oci:"+here+"/*", 0, "ecdsa.pub")
	_, err = pull("oci:"+cosignDir+"/image:v1", o)
	require.ErrorIs(t, err, image.ErrUnsigned)

	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/install/amd64"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/install/amd64/vmlinuz.efi"), []byte("x"), 0o600))
	o.Policy = policy(t, "dir:"+dir, 0, "ecdsa.pub")
	_, err = pull("dir:"+dir, o)
	require.ErrorIs(t, err, image.ErrUnsigned, "a directory carries no signatures")
}

// A registry that fails while it is asked for signatures is not one that has none.
func TestARegistryThatFailsIsNotUnsigned(t *testing.T) {
	r := serve(t)
	ref := signedBy(t, r, "ecdsa-tag", same)
	r.Fault(testregistry.Fault{Path: ".sig", Status: 500})
	o := options()
	o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
	_, err := pull(ref, o)
	require.ErrorIs(t, err, image.ErrUnreachable)
	require.NotErrorIs(t, err, image.ErrUnsigned)
}

func TestPoliciesThatAreRefused(t *testing.T) {
	key, err := os.ReadFile(filepath.Join(cosignDir, "ecdsa.pub"))
	require.NoError(t, err)
	good := fmt.Sprintf(`{"rules":[{"references":["h/r"],"keys":[%q]}]}`, key)
	file := filepath.Join(t.TempDir(), "policy.json")
	for text, because := range map[string]string{
		"":                                   "EOF",
		good + "x":                           "follows",
		`{"rule":[]}`:                        "unknown field",
		`{"rules":[{"keys":["k"]}]}`:         "no references",
		`{"rules":[{"references":["h/r"]}]}`: "no keys",
		`{"rules":[{"references":["h/*/r"],"keys":["k"]}]}`:                        "star",
		`{"rules":[{"references":["h/r"],"keys":["absent.pub"]}]}`:                 "absent.pub",
		`{"rules":[{"references":["h/r"],"keys":["policy.json"]}]}`:                "PUBLIC KEY",
		strings.Replace(good, `"]}]`, `"],"signatures":2}]`, 1):                    "2 signatures of 1 keys",
		fmt.Sprintf(`{"rules":[{"references":["h/r"],"keys":[%q,%q]}]}`, key, key): "twice",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := image.ReadPolicy(file)
		require.ErrorIs(t, err, image.ErrPolicy, text)
		require.ErrorContains(t, err, because)
	}
	require.NoError(t, os.WriteFile(file, []byte(good), 0o600))
	_, err = image.ReadPolicy(file)
	require.NoError(t, err)
	_, err = image.ReadPolicy(file + ".absent")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, image.ErrPolicy)
}

// What else is attached to an image does not hide its signature, however large or much it is.
func TestAttestationsDoNotHideASignature(t *testing.T) {
	r := serve(t)
	ref, err := name.NewDigest(signedBy(t, r, "ecdsa-bundle", same))
	require.NoError(t, err)
	o := options()
	o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
	attest(t, ref, 800<<10)
	for n := range maxAttached {
		attest(t, ref, n)
	}
	_, err = pull(ref.String(), o)
	require.NoError(t, err)
}

const maxAttached = 64

// attest hangs a statement of size bytes on the image.
func attest(t *testing.T, ref name.Digest, size int) {
	t.Helper()
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","predicate":%q}`, strings.Repeat("s", size))
	bundle := toJSON(t, map[string]any{"dsseEnvelope": map[string]any{
		"payload": []byte(statement), "payloadType": "application/vnd.in-toto+json",
		"signatures": []any{map[string]any{"sig": []byte("x")}},
	}})
	require.NoError(t, remote.WriteLayer(ref.Context(), static.NewLayer(bundle, bundleType)))
	m := toJSON(t, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{MediaType: bundleType,
			Digest: digestOf(bundle)},
		Layers:      []v1.Descriptor{{MediaType: bundleType, Size: int64(len(bundle)), Digest: digestOf(bundle)}},
		Subject:     &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: mustHash(t, ref.DigestStr())},
		Annotations: map[string]string{"dev.sigstore.bundle.predicateType": "https://spdx.dev/Document"},
	})
	require.NoError(t, remote.Put(ref.Context().Digest(digestOf(m).String()), rawManifest(m)))
}

// A registry without a list of referrers has none, whatever it answers; and it is the registry that decides, not a
// mirror.
func TestSignaturesWhereReferrersAreNotListed(t *testing.T) {
	for _, status := range []int{400, 404, 405, 406, 501} {
		r := serve(t)
		ref := signedBy(t, r, "ecdsa-tag", same)
		r.Fault(testregistry.Fault{Path: "/referrers/", Status: status})
		o := options()
		o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
		_, err := pull(ref, o)
		require.NoError(t, err, "%d", status)
	}
	r, mirror := serve(t), serve(t)
	ref := signedBy(t, r, "ecdsa-tag", same)
	require.NoError(t, mirror.Close())
	o := options()
	o.Policy = policy(t, r.Host()+"/*", 0, "ecdsa.pub")
	o.Mirrors = map[string][]string{r.Host(): {mirror.Host()}}
	_, err := pull(ref, o)
	require.NoError(t, err)
}

func TestAPolicyNamesDockerHubAsAReferenceDoes(t *testing.T) {
	o := options()
	o.Transport = asking{}
	for _, name := range []string{"docker.io/acme/os", "index.docker.io/acme/*", "docker.io/*"} {
		o.Policy = policy(t, name, 0, "ecdsa.pub")
		_, err := image.Open(t.Context(), "docker.io/acme/os:v1", o)
		require.ErrorIs(t, err, image.ErrNotFound, "%s allows it to be asked for", name)
	}
}
