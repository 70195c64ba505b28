package authenticode_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(file(t, name))
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

// A shim pads a file that nobody has signed to a multiple of 8 bytes, firmware does not (shim's pe.c, generate_hash).
func TestDigestOfAShim(t *testing.T) {
	bare := file(t, "loader.efi")
	bare = bare[:len(bare)&^7]
	for n := range 16 {
		s, err := authenticode.Read(append(bytes.Clone(bare), make([]byte, n)...))
		require.NoError(t, err)
		even, err := authenticode.Read(append(bytes.Clone(bare), make([]byte, (n+7)&^7)...))
		require.NoError(t, err)
		require.Equal(t, even.Digest, s.Padded)
		require.Equal(t, n%8 == 0, s.Digest == s.Padded, n)
	}
	s, err := authenticode.Read(file(t, "a.efi"))
	require.NoError(t, err)
	require.Equal(t, s.Digest, s.Padded)
}

// What sbsign signed, and with which certificates: testdata/README.md.
func TestSignersOfWhatSbsignSigned(t *testing.T) {
	a, b, ca, e := certificate(t, "a.pem"), certificate(t, "b.pem"), certificate(t, "ca.pem"), certificate(t, "e.pem")
	bare, err := authenticode.Read(file(t, "loader.efi"))
	require.NoError(t, err)
	for name, want := range map[string][]*x509.Certificate{"loader.efi": nil, "a.efi": {a}, "ab.efi": {a, b},
		"e.efi": {e}} {
		s, err := authenticode.Read(file(t, name))
		require.NoError(t, err, name)
		require.NoError(t, s.Bad(), name)
		require.Len(t, s.Signers(), len(want), name)
		for i, c := range want {
			require.True(t, c.Equal(s.Signers()[i]), name)
		}
		require.Equal(t, bare.Digest, s.Digest, "signing changes nothing that is covered")
		require.False(t, s.By([]*x509.Certificate{ca}), "who issued a certificate has signed nothing")
		require.Equal(t, len(want) > 0, s.By(want), name)
	}
	s, err := authenticode.Read(file(t, "a.efi"))
	require.NoError(t, err)
	require.Len(t, s.Signatures, 1)
	require.Len(t, s.Signatures[0].Certificates, 2, "what came with it")
	require.True(t, slices.ContainsFunc(s.Signatures[0].Certificates, ca.Equal))
	for name, want := range map[string]bool{"loader.efi": false, "a.efi": true} {
		image := file(t, name)
		got, err := authenticode.IsSigned(bytes.NewReader(image[:1024]), int64(len(image))) // headers are enough
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

// No byte of what is covered can change, and a signature that was moved to another program counts for nothing.
func TestSignatureOfOtherBytesDoesNotCount(t *testing.T) {
	signed, bare := file(t, "a.efi"), file(t, "loader.efi")
	for at := 0; at < len(bare); at += 7 {
		if at >= 88+64 && at < 88+68 || at >= 88+144 && at < 88+
			152 { // the checksum and the directory's entry of the certificates
			continue
		}
		changed := bytes.Clone(signed)
		changed[at] ^= 1
		s, err := authenticode.Read(changed)
		require.True(t, err != nil || len(s.Signers()) == 0, "byte %d", at)
	}
	for at := len(bare) + 8; at < len(signed)-8; at += 11 {
		changed := bytes.Clone(signed)
		changed[at] ^= 1
		s, err := authenticode.Read(changed)
		require.NoError(t, err)
		if a := certificate(t, "a.pem"); s.By([]*x509.Certificate{a}) {
			require.NotEmpty(t, s.Signatures[0].Certificates, "byte %d is of another certificate, or of what nothing depends on", at)
		}
	}
}

func TestNotAProgram(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil, "text": bytes.Repeat([]byte("text "), 100), "cut in the headers": file(t, "a.efi")[:200],
		"cut in a section":        file(t, "a.efi")[:1030],
		"cut in the certificates": file(t, "a.efi")[:2000],
	} {
		_, err := authenticode.Read(data)
		require.ErrorIs(t, err, authenticode.ErrFormat, name)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"loader.efi", "a.efi", "ab.efi", "e.efi"} {
		f.Add(file(f, name))
	}
	a := certificate(f, "a.pem")
	whole, err := authenticode.Read(file(f, "a.efi"))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := authenticode.Read(data)
		if err == nil && s.By([]*x509.Certificate{a}) && s.Digest != whole.Digest {
			t.Fatal("a signature counts for another program")
		}
	})
}

// What loadertest signs, sbsign's like reads; so what tests sign is signed.
func TestSignersOfWhatLoadertestSigned(t *testing.T) {
	key, err := loadertest.NewKey("Pawl test")
	require.NoError(t, err)
	signed, err := key.Sign(loadertest.Loader("arm64"))
	require.NoError(t, err)
	s, err := authenticode.Read(signed)
	require.NoError(t, err)
	require.NoError(t, s.Bad())
	require.True(t, s.By([]*x509.Certificate{key.Certificate}))
}

// A signature is put behind those that are there, and only by a key that firmware knows and that is the certificate's.
func TestSign(t *testing.T) {
	ours, err := loadertest.NewKey("ours")
	require.NoError(t, err)
	a := certificate(t, "a.pem")
	both, err := ours.Sign(file(t, "a.efi"))
	require.NoError(t, err)
	s, err := authenticode.Read(both)
	require.NoError(t, err)
	require.NoError(t, s.Bad())
	require.Equal(t, []*x509.Certificate{a, ours.Certificate}, s.Signers())

	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	for name, key := range map[string]crypto.Signer{"over a curve": curve, "of another certificate": short} {
		_, err = authenticode.Sign(file(t, "loader.efi"), key, a)
		require.ErrorIs(t, err, authenticode.ErrKey, name)
	}
	_, err = authenticode.Sign(file(t, "loader.efi"), short)
	require.ErrorIs(t, err, authenticode.ErrKey, "no certificate")
	for name, image := range map[string][]byte{"text": []byte("text"), "cut": file(t, "a.efi")[:1030],
		"something behind the signatures": append(file(t, "a.efi"), make([]byte, 16)...)} {
		_, err = ours.Sign(image)
		require.ErrorIs(t, err, authenticode.ErrFormat, name)
	}
}

// What somebody else signed is the same program, with whole signatures more.
func TestAdded(t *testing.T) {
	bare, a, ab := file(t, "loader.efi"), file(t, "a.efi"), file(t, "ab.efi")
	for _, pair := range [][2][]byte{{bare, a}, {bare, ab}, {a, ab}} {
		require.NoError(t, authenticode.Added(pair[0], pair[1]))
	}
	odd := append(bytes.Clone(bare), 1, 2, 3)
	key, err := loadertest.NewKey("ours")
	require.NoError(t, err)
	signed, err := key.Sign(odd)
	require.NoError(t, err)
	require.NoError(t, authenticode.Added(odd, signed), "padded first")
	other := bytes.Clone(a)
	other[0x45] ^= 1
	damaged := bytes.Clone(a)
	damaged[len(damaged)-100] ^= 1
	others, err := key.Sign(bare)
	require.NoError(t, err)
	inside := bytes.Clone(a)
	binary.LittleEndian.PutUint32(inside[88+144:], 8)
	for says, pair := range map[string][2][]byte{
		"no signature was added":                       {a, a},
		"it has no signature":                          {a, bare},
		"signatures that it had were taken away":       {a, others},
		"the program itself was changed":               {bare, other},
		"a signature does not count":                   {bare, damaged},
		"there is something behind its signatures":     {bare, append(bytes.Clone(a), make([]byte, 8)...)},
		"not a key that signs programs for EFI":        {bare, file(t, "e.efi")},
		"what was to be signed: not a PE32+ image":     {[]byte("text"), a},
		"what was signed: not a PE32+ image":           {bare, []byte("text")},
		"its signatures are in its headers: not a PE3": {bare, inside},
	} {
		require.ErrorContains(t, authenticode.Added(pair[0], pair[1]), says)
	}
}

func FuzzAdded(f *testing.F) {
	bare := file(f, "loader.efi")
	f.Add(bare, file(f, "a.efi"))
	f.Add(file(f, "a.efi"), file(f, "ab.efi"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if authenticode.Added(before, after) != nil {
			return
		}
		b, err := authenticode.Read(before)
		require.NoError(t, err)
		a, err := authenticode.Read(after)
		require.NoError(t, err)
		require.Greater(t, len(a.Signatures), len(b.Signatures))
		require.NoError(t, a.Bad())
	})
}
