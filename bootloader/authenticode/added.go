package authenticode

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Added checks what another program has signed: that after is the program before with one or more signatures behind
// those that it had, whole and by RSA keys, and nothing else. Zeros up to a multiple of 8 may be between the two, and
// the checksum of the headers, which nothing covers, may be another one. ErrKey where the key is not RSA; ErrFormat
// where before is no program.
func Added(before, after []byte) error {
	was, err := open(bytes.NewReader(before), int64(len(before)))
	if err != nil {
		return fmt.Errorf("what was to be signed: %w", err)
	}
	is, err := open(bytes.NewReader(after), int64(len(after)))
	if err != nil {
		return fmt.Errorf("what was signed: %v", err)
	}
	signed, err := Read(after)
	if err != nil {
		return fmt.Errorf("what was signed: %v", err)
	}
	for _, f := range []program{was, is} {
		if f.certs.size > 0 && f.certs.at < int64(len(f.headers)) {
			return fmt.Errorf("its signatures are in its headers: %w", ErrFormat)
		}
	}
	had, certsHad := was.split(before)
	has, certsHas := is.split(after)
	switch {
	case is.certs.size == 0:
		return errors.New("it has no signature")
	case !bytes.Equal(was.padded(had), is.padded(has)):
		return errors.New("the program itself was changed, and not only signed")
	case !bytes.HasPrefix(certsHas, certsHad):
		return errors.New("signatures that it had were taken away or changed")
	case len(certsHas) == len(certsHad):
		return errors.New("no signature was added")
	case is.certs.at+is.certs.size != int64(len(after)):
		return errors.New("there is something behind its signatures")
	}
	if err := signed.Bad(); err != nil {
		return fmt.Errorf("a signature does not count: %w", err)
	}
	if slices.ContainsFunc(signed.Signers(), func(c *x509.Certificate) bool {
		_, is := c.PublicKey.(*rsa.PublicKey)
		return !is
	}) {
		return ErrKey
	}
	return nil
}

// split parts a file into the program and its signatures.
func (f program) split(image []byte) (body, certs []byte) {
	if f.certs.size == 0 {
		return image, nil
	}
	return image[:f.certs.at], image[f.certs.at : f.certs.at+f.certs.size]
}

// padded is the program without what signing changes.
func (f program) padded(body []byte) []byte {
	p := append(bytes.Clone(body), make([]byte, -len(body)&7)...)
	binary.LittleEndian.PutUint32(p[f.optional+64:], 0)
	clear(p[f.optional+144 : f.optional+152])
	return p
}
