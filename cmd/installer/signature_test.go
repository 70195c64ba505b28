package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
)

// keys writes a key pair as openssl does.
func keys(t *testing.T, dir, name string) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	private, public = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".pub")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	der, err = x509.MarshalPKIXPublicKey(pub)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return private, public
}

func TestAPolicyIsEnforced(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	private, _ := keys(t, dir, "ours")
	_, _ = keys(t, dir, "theirs")
	write := func(name string, p any) string {
		data, err := json.Marshal(p)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		return filepath.Join(dir, name)
	}
	rule := func(key string) image.Policy {
		return image.Policy{Rules: []image.Rule{{References: []string{"oci:" + dir + "/*"}, Keys: []string{key}}}}
	}
	ours, theirs := write("ours.json", rule("ours.pub")), write("theirs.json", rule("theirs.pub"))
	elsewhere := write("elsewhere.json", image.Policy{Rules: []image.Rule{{References: []string{"h/r"},
		Keys: []string{"ours.pub"}}}})
	pack := func(layout string, more ...string) string {
		status, out := run(t, append(append(flags, "--output", filepath.Join(dir, layout)), more...)...)
		require.Zero(t, status, out)
		return strings.TrimSpace(out)
	}
	unsigned, signed := pack("unsigned"), pack("signed", "--sign-key", private)
	for _, c := range []struct {
		name, ref, policy string
		status            int
		says              []string
	}{
		{"unsigned", unsigned, ours, exitImage, []string{"it is not signed", "cosign sign --key"}},
		{"wrong key", signed, theirs, exitImage, []string{"theirs.pub: no signature is by the key",
			"ask who signed it"}},
		{"no rule", signed, elsewhere, exitImage, []string{"no rule names oci:" + dir + "/signed",
			"mend the signature policy"}},
		{"unreadable policy", signed, filepath.Join(dir, "vmlinuz"), exitImage, []string{"read signature policy",
			"mend the signature policy"}},
		{"absent policy", signed, filepath.Join(dir, "absent"), exitImage, []string{"absent"}},
		{"signed", signed, ours, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			output := filepath.Join(dir, "disk of "+c.name)
			status, out := run(t, "image", "--arch", "amd64", "--size", "2GiB", "--image", c.ref, "--signature-policy",
				c.policy, "--output", output)
			require.Equal(t, c.status, status, out)
			for _, text := range c.says {
				require.Contains(t, out, text)
			}
			if _, err := os.Stat(output); c.status != 0 {
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		})
	}
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "bad"), "--sign-key",
		filepath.Join(dir, "vmlinuz"))...)
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "--sign-key")
}
