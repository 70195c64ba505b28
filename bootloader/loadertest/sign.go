package loadertest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"time"

	"github.com/pawl-os/pawl/bootloader/authenticode"
)

// Key is a key that signs programs for EFI, with its certificate: RSA, as firmware knows it, and short, to be made
// fast.
type Key struct {
	Certificate *x509.Certificate

	key *rsa.PrivateKey
}

// NewKey makes a key whose certificate has that name and was issued by itself.
func NewKey(name string) (Key, error) { return Key{}.Issue(name, func(*x509.Certificate) {}) }

// Issue makes a key whose certificate k issued. change is what the certificate is to say beside its name.
func (k Key) Issue(name string, change func(*x509.Certificate)) (Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return Key{}, err
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	change(c)
	if k.key == nil {
		k = Key{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, k.Certificate, &key.PublicKey, k.key)
	if err != nil {
		return Key{}, err
	}
	c, err = x509.ParseCertificate(der)
	return Key{c, key}, err
}

var (
	signedDataOID   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	indirectDataOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	imageDataOID    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
	sha256OID       = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	rsaOID          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// Sign returns a program with a signature by k behind it, as sbsign puts it there; one that is signed already gets no
// other. The certificates come with it.
func (k Key) Sign(image []byte, with ...Key) ([]byte, error) {
	le := binary.LittleEndian
	signed := append([]byte(nil), image...)
	signed = append(signed, make([]byte, (8-len(signed)%8)%8)...)
	bare, err := authenticode.Read(signed)
	if err != nil {
		return nil, err
	}
	type algorithm struct{ ID asn1.ObjectIdentifier }
	type digestInfo struct {
		Algorithm algorithm
		Sum       []byte
	}
	type indirect struct {
		Data   algorithm
		Digest digestInfo
	}
	covered := indirect{algorithm{imageDataOID}, digestInfo{algorithm{sha256OID}, bare.Digest[:]}}
	der, err := asn1.Marshal(covered)
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(der, &inner); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(inner.Bytes)
	signature, err := k.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	type issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	type signer struct {
		Version   int
		Of        issuerAndSerial
		Digest    algorithm
		Algorithm algorithm
		Signature []byte
	}
	type content struct {
		Type    asn1.ObjectIdentifier
		Content any `asn1:"explicit,tag:0"`
	}
	type signedData struct {
		Version      int
		Algorithms   []algorithm `asn1:"set"`
		Content      content
		Certificates asn1.RawValue
		Signers      []signer `asn1:"set"`
	}
	certs := append([]byte(nil), k.Certificate.Raw...)
	for _, other := range with {
		certs = append(certs, other.Certificate.Raw...)
	}
	pkcs7, err := asn1.Marshal(content{signedDataOID, signedData{
		Version: 1, Algorithms: []algorithm{{sha256OID}}, Content: content{indirectDataOID, covered},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true,
			Bytes: certs},
		Signers: []signer{{1, issuerAndSerial{asn1.RawValue{FullBytes: k.Certificate.RawIssuer},
			k.Certificate.SerialNumber},
			algorithm{sha256OID}, algorithm{rsaOID}, signature}},
	}})
	if err != nil {
		return nil, err
	}
	table := le.AppendUint32(nil, uint32(8+len(pkcs7)))
	table = append(le.AppendUint16(le.AppendUint16(table, 0x200), 2), pkcs7...)
	table = append(table, make([]byte, (8-len(table)%8)%8)...)
	directory := le.Uint32(image[60:]) + 24 + 144
	le.PutUint32(signed[directory:], uint32(len(signed)))
	le.PutUint32(signed[directory+4:], uint32(len(table)))
	return append(signed, table...), nil
}
