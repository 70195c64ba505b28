package authenticode

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// ErrKey is returned for a key that signs nothing which firmware is known to accept: it is not RSA, or is none of the
// certificate's. Do: use an RSA key of 2048 bits or more, and its certificate.
var ErrKey = errors.New("not a key that signs programs for EFI")

// What a signature says beside numbers, as DER: the data of a program (flags, and an empty name of a file); SHA-256,
// and RSA, without parameters.
var (
	programData = []byte("\x30\x17\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f" +
		"\x30\x09\x03\x01\x00\xa0\x04\xa2\x02\x80\x00")
	withSHA256 = algorithm{oidSHA256, asn1.NullRawValue}
	withRSA    = algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue}

	oidContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
)

// Sign returns a program with one more signature behind those that it has, by key, whose certificate is the first of
// certs; the others come with it. The same input gives the same bytes: no time is signed. ErrKey, or ErrFormat where
// image is no program, or has something behind its signatures.
func Sign(image []byte, key crypto.Signer, certs ...*x509.Certificate) ([]byte, error) {
	if public, ok := key.Public().(*rsa.PublicKey); !ok || len(certs) == 0 || !public.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("sign: %w", ErrKey)
	}
	signed := bytes.Clone(image)
	f, err := open(bytes.NewReader(image), int64(len(image)))
	switch {
	case err != nil:
		return nil, err
	case !f.listed:
		return nil, fmt.Errorf("its headers have no place for a signature: %w", ErrFormat)
	case f.certs.size == 0: // what is behind the program is covered too, so it is padded first
		signed = append(signed, make([]byte, -len(signed)&7)...)
		f.certs.at = int64(len(signed))
	case f.certs.at+f.certs.size != int64(len(image)) || f.certs.at%8 != 0 || f.certs.size%8 != 0:
		return nil, fmt.Errorf("its signatures are not at its end, or not at multiples of 8: %w", ErrFormat)
	}
	s, err := Read(signed)
	if err != nil {
		return nil, err
	}
	pkcs7, err := signature(s.Digest, key, certs)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	entry := le.AppendUint32(nil, uint32(8+len(pkcs7)))
	entry = append(le.AppendUint16(le.AppendUint16(entry, 0x200), 2), pkcs7...)
	entry = append(entry, make([]byte, -len(entry)&7)...)
	le.PutUint32(signed[f.optional+144:], uint32(f.certs.at))
	le.PutUint32(signed[f.optional+148:], uint32(f.certs.size)+uint32(len(entry)))
	return append(signed, entry...), nil
}

// signature is one over a digest, in PKCS #7.
func signature(digest [sha256.Size]byte, key crypto.Signer, certs []*x509.Certificate) ([]byte, error) {
	covered := indirectData{Data: asn1.RawValue{FullBytes: programData}}
	covered.Digest.Algorithm, covered.Digest.Sum = withSHA256, digest[:]
	content, err := asn1.Marshal(covered)
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(content, &inner); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(inner.Bytes)
	attributes, err := signedAttributes(sum[:])
	if err != nil {
		return nil, err
	}
	over := sha256.Sum256(attributes)
	sig, err := key.Sign(rand.Reader, over[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	inSigner := bytes.Clone(attributes)
	inSigner[0] = 0xa0
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	type signer struct {
		Version int
		Of      struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}
		Digest    algorithm
		Signed    asn1.RawValue
		Algorithm algorithm
		Signature []byte
	}
	by := signer{Version: 1, Digest: withSHA256, Signed: asn1.RawValue{FullBytes: inSigner}, Algorithm: withRSA,
		Signature: sig}
	by.Of.Issuer, by.Of.Serial = asn1.RawValue{FullBytes: certs[0].RawIssuer}, certs[0].SerialNumber
	type wrapped struct {
		Type    asn1.ObjectIdentifier
		Content any `asn1:"explicit,tag:0"`
	}
	return asn1.Marshal(wrapped{oidSignedData, struct {
		Version      int
		Algorithms   []algorithm `asn1:"set"`
		Content      wrapped
		Certificates asn1.RawValue
		Signers      []signer `asn1:"set"`
	}{
		1, []algorithm{withSHA256}, wrapped{oidIndirectData, covered},
		asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: all}, []signer{by},
	}})
}

// signedAttributes are the type and the digest of what is signed, as the set over which the signature is made.
func signedAttributes(sum []byte) ([]byte, error) {
	kind, err := asn1.Marshal(oidIndirectData)
	if err != nil {
		return nil, err
	}
	digest, err := asn1.Marshal(sum)
	if err != nil {
		return nil, err
	}
	set := func(der []byte) asn1.RawValue { // one value
		return asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true, Bytes: der}
	}
	return asn1.MarshalWithParams([]attribute{{oidContentType, set(kind)}, {oidMessageDigest, set(digest)}}, "set")
}
