package authenticode

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// The parts of RFC 2315 and of Authenticode that say who signed what.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
	}
	signedData struct {
		Version      int
		Algorithms   asn1.RawValue
		Content      contentInfo
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		Revoked      asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version   int
		Of        issuerAndSerial
		Digest    algorithm
		Signed    asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm algorithm
		Signature []byte
		Unsigned  asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	indirectData struct {
		Data   asn1.RawValue
		Digest struct {
			Algorithm algorithm
			Sum       []byte
		}
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue `asn1:"set"`
	}
)

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidPSS           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidSHA512        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// read judges one signature, in PKCS #7.
func (s Signed) read(der []byte) Signature {
	signers, certs, err := s.signers(der)
	if err != nil {
		signers = nil
	}
	return Signature{signers, certs, err}
}

func (s Signed) signers(der []byte) (signers, certs []*x509.Certificate, err error) {
	var outer contentInfo
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil, nil, fmt.Errorf("a signature that cannot be read: %w", err)
	}
	var data signedData
	if !outer.Type.Equal(oidSignedData) {
		return nil, nil, fmt.Errorf("a signature of type %v, %w", outer.Type, ErrUnknown)
	}
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &data); err != nil {
		return nil, nil, fmt.Errorf("a signature that cannot be read: %w", err)
	}
	if err := s.covers(data.Content); err != nil {
		return nil, nil, err
	}
	if certs, err = x509.ParseCertificates(data.Certificates.Bytes); err != nil {
		return nil, nil, fmt.Errorf("a signature whose certificates cannot be read: %w", err)
	}
	var inner asn1.RawValue // what is hashed is its content, without tag and length
	if _, err := asn1.Unmarshal(data.Content.Content.Bytes, &inner); err != nil {
		return nil, certs, fmt.Errorf("a signature that cannot be read: %w", err)
	}
	if len(data.Signers) == 0 {
		return nil, certs, errors.New("a signature by nobody")
	}
	for _, of := range data.Signers {
		c, err := of.verify(certs, inner.Bytes)
		if err != nil {
			return nil, certs, err
		}
		signers = append(signers, c)
	}
	return signers, certs, nil
}

// covers holds what was signed against the file.
func (s *Signed) covers(c contentInfo) error {
	var signed indirectData
	if !c.Type.Equal(oidIndirectData) {
		return fmt.Errorf("a signature over %v, and not over a program", c.Type)
	}
	if _, err := asn1.Unmarshal(c.Content.Bytes, &signed); err != nil {
		return fmt.Errorf("a signature that cannot be read: %w", err)
	}
	if !signed.Digest.Algorithm.ID.Equal(oidSHA256) {
		return fmt.Errorf("a signature over a digest by %v, %w", signed.Digest.Algorithm.ID, ErrUnknown)
	}
	if !bytes.Equal(signed.Digest.Sum, s.Digest[:]) {
		return errors.New("a signature over other bytes: the file was changed after it was signed")
	}
	return nil
}

// verify finds the certificate of a signer and checks its signature over content.
func (i signerInfo) verify(certs []*x509.Certificate, content []byte) (*x509.Certificate, error) {
	for _, c := range certs {
		if c.SerialNumber.Cmp(i.Of.Serial) != 0 || !bytes.Equal(c.RawIssuer, i.Of.Issuer.FullBytes) {
			continue
		}
		signed := content
		if len(i.Signed.FullBytes) > 0 {
			if err := i.attributes(content); err != nil {
				return nil, err
			}
			signed = bytes.Clone(i.Signed.FullBytes)
			signed[0] = asn1.TagSet | 0x20 // as it was when it was signed
		}
		_, by := i.hash()
		if c.PublicKeyAlgorithm == x509.ECDSA {
			by = map[x509.SignatureAlgorithm]x509.SignatureAlgorithm{
				x509.SHA256WithRSA: x509.ECDSAWithSHA256, x509.SHA384WithRSA: x509.ECDSAWithSHA384,
				x509.SHA512WithRSA: x509.ECDSAWithSHA512,
			}[by]
		}
		if by == x509.UnknownSignatureAlgorithm || i.Algorithm.ID.Equal(oidPSS) {
			return nil, fmt.Errorf("a signature by %q by way of %v and %v, %w", c.Subject.CommonName, i.Digest.ID,
				i.Algorithm.ID, ErrUnknown)
		}
		if err := c.CheckSignature(by, signed, i.Signature); err != nil {
			return nil, fmt.Errorf("a signature by %q that does not verify: %w", c.Subject.CommonName, err)
		}
		return c, nil
	}
	return nil, errors.New("a signature without its certificate")
}

// attributes holds the digest among the signed attributes against content.
func (i signerInfo) attributes(content []byte) error {
	hash, _ := i.hash()
	if !hash.Available() {
		return fmt.Errorf("a signature by way of %v, %w", i.Digest.ID, ErrUnknown)
	}
	h := hash.New()
	h.Write(content)
	for rest := i.Signed.Bytes; len(rest) > 0; {
		var a attribute
		var sum []byte
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return fmt.Errorf("a signature that cannot be read: %w", err)
		}
		if !a.Type.Equal(oidMessageDigest) {
			continue
		}
		if _, err := asn1.Unmarshal(a.Values.Bytes, &sum); err != nil || !bytes.Equal(sum, h.Sum(nil)) {
			return errors.New("a signature whose digest is of something else")
		}
		return nil
	}
	return errors.New("a signature that does not say what it covers")
}

// hash is what the signer hashed with; x509's name of it is that with RSA. Unknown ones are 0.
func (i signerInfo) hash() (crypto.Hash, x509.SignatureAlgorithm) {
	switch {
	case i.Digest.ID.Equal(oidSHA256):
		return crypto.SHA256, x509.SHA256WithRSA
	case i.Digest.ID.Equal(oidSHA384):
		return crypto.SHA384, x509.SHA384WithRSA
	case i.Digest.ID.Equal(oidSHA512):
		return crypto.SHA512, x509.SHA512WithRSA
	}
	return 0, x509.UnknownSignatureAlgorithm
}
