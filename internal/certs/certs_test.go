package certs

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func authority(t *testing.T, name string) Authority {
	ca, err := NewAuthority(name, Term{Now: now, Life: 1000 * time.Hour})
	require.NoError(t, err)
	return ca
}

func verify(ca Authority, c *x509.Certificate, at time.Time, usage x509.ExtKeyUsage) error {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	_, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestANodesCertificateIsForServersAlone(t *testing.T) {
	for _, algorithm := range []Algorithm{Ed25519, P256} {
		ca, err := NewAuthority("fleet", Term{now, 1000 * time.Hour, algorithm})
		require.NoError(t, err)
		node, err := ca.Node([]string{"Node1.example.com", "10.0.0.7", "fd00::7"}, Term{now, time.Hour, algorithm})
		require.NoError(t, err)
		require.Equal(t, []string{"node1.example.com"}, node.Cert.DNSNames)
		require.Len(t, node.Cert.IPAddresses, 2)
		require.NoError(t, verify(ca, node.Cert, now, x509.ExtKeyUsageServerAuth))
		require.Error(t, verify(ca, node.Cert, now, x509.ExtKeyUsageClientAuth))
		client, err := ca.Client("alice", "pawl:reader", Term{now, time.Hour, algorithm})
		require.NoError(t, err)
		require.NoError(t, verify(ca, client.Cert, now, x509.ExtKeyUsageClientAuth))
		require.Error(t, verify(ca, client.Cert, now, x509.ExtKeyUsageServerAuth))
		require.Error(t, verify(ca, client.Cert, now.Add(2*time.Hour), x509.ExtKeyUsageClientAuth))
		require.False(t, client.Cert.IsCA)
		require.Error(t, verify(authority(t, "other"), client.Cert, now, x509.ExtKeyUsageClientAuth))
	}
	_, err := NewAuthority("fleet", Term{now, time.Hour, "rsa"})
	require.EqualError(t, err, `algorithm "rsa": want ed25519 or p256`)
}

func TestNoCertificateOutlivesItsAuthority(t *testing.T) {
	ca := authority(t, "fleet")
	p, err := ca.Node([]string{"node1"}, Term{Now: now, Life: 9000 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, ca.Cert.NotAfter, p.Cert.NotAfter)
	_, err = ca.Node([]string{"node1"}, Term{Now: now.Add(2000 * time.Hour), Life: time.Hour})
	require.ErrorContains(t, err, "the authority is valid from 2030-01-02T02:59:05Z to ")
	p, err = ca.Node([]string{"node1"}, Term{Now: now.Add(-time.Minute), Life: time.Hour})
	require.NoError(t, err, "clocks differ")
	require.Equal(t, ca.Cert.NotBefore, p.Cert.NotBefore)
}

func TestNamesThatNobodyCanCallAreRefused(t *testing.T) {
	ca := authority(t, "fleet")
	for _, name := range []string{"", "node 1", "node1:7295", "*.example.com", "-node", "node-", "a..b", "10.0.0",
		"10.0.0.256", "fe80::1%eth0", "0.0.0.0", "::", "knoten\u00e4", "node_1", strings.Repeat("a", 64),
		strings.Repeat("a.", 130) + "b",
		"../ca", "https://node1"} {
		_, err := ca.Node([]string{"node1", name}, Term{Now: now, Life: time.Hour})
		require.Error(t, err, "%q", name)
	}
	_, err := ca.Node(nil, Term{Now: now, Life: time.Hour})
	require.ErrorContains(t, err, "needs a name")
	for _, name := range []string{"", "../alice", ".hidden", "a b", "a\nb", "\x1b[31m", strings.Repeat("a", 65)} {
		_, err := ca.Client(name, "pawl:reader", Term{Now: now, Life: time.Hour})
		require.Error(t, err, "%q", name)
		_, err = NewAuthority(name, Term{Now: now, Life: time.Hour})
		require.Error(t, err, "%q", name)
	}
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60)
	p, err := ca.Node([]string{long}, Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	require.Len(t, p.Cert.Subject.CommonName, 64)
	require.Equal(t, []string{long}, p.Cert.DNSNames)
}

func TestRenewKeepsKeyNamesAndRole(t *testing.T) {
	ca := authority(t, "fleet")
	for _, algorithm := range []Algorithm{Ed25519, P256} {
		old, err := ca.Client("alice", "pawl:operator", Term{now, time.Hour, algorithm})
		require.NoError(t, err)
		later := now.Add(50 * time.Hour) // it is over
		cert, err := ca.Renew(old.Cert, Term{Now: later})
		require.NoError(t, err)
		require.Equal(t, old.Cert.PublicKey, cert.PublicKey)
		require.Equal(t, old.Cert.Subject.String(), cert.Subject.String())
		require.Equal(t, later.Add(time.Hour), cert.NotAfter)
		require.NotEqual(t, old.Cert.SerialNumber, cert.SerialNumber)
		require.NoError(t, verify(ca, cert, later, x509.ExtKeyUsageClientAuth))
		require.Error(t, verify(ca, cert, later, x509.ExtKeyUsageServerAuth))
	}
	node, err := ca.Node([]string{"node1", "10.0.0.1"}, Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	cert, err := ca.Renew(node.Cert, Term{Now: now, Life: 3 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, node.Cert.DNSNames, cert.DNSNames)
	require.Equal(t, node.Cert.IPAddresses, cert.IPAddresses)
	require.Equal(t, now.Add(3*time.Hour), cert.NotAfter)
	_, err = authority(t, "fleet").Renew(node.Cert, Term{Now: now})
	require.ErrorContains(t, err, "another authority", "of the same name")
	_, err = ca.Renew(ca.Cert, Term{Now: now})
	require.ErrorContains(t, err, "is an authority")
}

func TestFilesAreTheirOwnersAndNotReplacedUnasked(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, "fleet")
	f := AuthorityFiles(dir)
	require.NoError(t, f.Write(ca.Pair, false))
	for _, path := range []string{f.Cert, f.Key} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}
	before, err := os.ReadFile(f.Key)
	require.NoError(t, err)
	require.ErrorIs(t, f.Write(authority(t, "other").Pair, false), ErrExists)
	after, err := os.ReadFile(f.Key)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, os.Remove(f.Key))
	require.ErrorIs(t, f.Write(ca.Pair, false), ErrExists, "the certificate alone")
	require.NoFileExists(t, f.Key)
	require.NoError(t, f.Write(ca.Pair, true))
	read, err := ReadAuthority(dir)
	require.NoError(t, err)
	require.Equal(t, ca.Cert.Raw, read.Cert.Raw)
	require.Equal(t, ca.Key, read.Key)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "nothing is left over")
	require.ErrorIs(t, f.WriteCert(ca.Cert, false), ErrExists)
	_, err = FilesOf(dir, "CA")
	require.ErrorContains(t, err, "want another")
}

// What cannot be written leaves no half of a pair behind.
func TestAPairIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, "fleet")
	f := Files{Cert: filepath.Join(dir, "none", "ca.crt"), Key: filepath.Join(dir, "ca.key")}
	require.ErrorIs(t, f.Write(ca.Pair, false), fs.ErrNotExist)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFilesThatAreNoAuthority(t *testing.T) {
	ca, other := authority(t, "fleet"), authority(t, "other")
	client, err := ca.Client("alice", "pawl:reader", Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	key := func(p Pair) []byte {
		data, err := p.KeyPEM()
		require.NoError(t, err)
		return data
	}
	for says, test := range map[string]struct{ cert, key []byte }{
		"is not the key of":     {ca.CertPEM(), key(other.Pair)},
		"is no authority":       {client.CertPEM(), key(client)},
		"no certificate in PEM": {key(ca.Pair), key(ca.Pair)},
		"no key in PEM":         {ca.CertPEM(), ca.CertPEM()},
		"no key that signs": {ca.CertPEM(),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})},
		"certificate 1: x509":              {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), nil},
		"want a file of at most 1048576 b": {make([]byte, maxFile+1), nil},
	} {
		f := AuthorityFiles(t.TempDir())
		require.NoError(t, os.WriteFile(f.Cert, test.cert, 0o600))
		require.NoError(t, os.WriteFile(f.Key, test.key, 0o600))
		_, err := ReadAuthority(filepath.Dir(f.Cert))
		require.ErrorContains(t, err, says)
	}
	_, err = ReadAuthority(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestThirtyDaysBeforeTheEndItIsSaid(t *testing.T) {
	const day = 24 * time.Hour
	year, err := NewAuthority("fleet", Term{Now: now, Life: 365 * day})
	require.NoError(t, err)
	require.False(t, Ending(year.Cert, now.Add(335*day-time.Minute)))
	require.True(t, Ending(year.Cert, now.Add(335*day+time.Minute)))
	require.True(t, Ending(year.Cert, now.Add(400*day)))
	client, err := year.Client("alice", "pawl:reader", Term{Now: now, Life: day})
	require.NoError(t, err)
	require.False(t, Ending(client.Cert, now.Add(15*time.Hour)))
	require.True(t, Ending(client.Cert, now.Add(17*time.Hour)))
}
