// Package authenticode says who signed a program for EFI, as firmware with Secure Boot looks at it.
//
// Start with Read. A signer counts only when its signature is whole: it covers the bytes of this very file, and the key
// of its certificate made it. Whether anybody trusts that certificate is not judged here, nor are chains, times or
// revocations.
//
// RSA and ECDSA with SHA-256, SHA-384 or SHA-512 over a SHA-256 digest of the file are known; other signatures are told
// of in Signed.Bad.
//
// Specification: Microsoft's "Windows Authenticode Portable Executable Signature Format" of 2008; RFC 2315; UEFI 2.10,
// section 32.
package authenticode

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrFormat is returned when bytes are not a program for EFI whose signatures can be looked for. Do: build or fetch it
// again.
var ErrFormat = errors.New("not a PE32+ image")

// Signed is what a file says of its signatures. One without any is no error.
type Signed struct {
	Digest  [sha256.Size]byte   // of the file without what signing changes: what the signatures cover
	Signers []*x509.Certificate // of the signatures that are whole, in their order
	Others  []*x509.Certificate // that came with them, such as those that issued the signers'
	Bad     []error             // why other signatures do not count
}

// By reports whether one of the certificates that signed s is among certs.
func (s Signed) By(certs []*x509.Certificate) bool {
	return slices.ContainsFunc(s.Signers, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(certs, c.Equal)
	})
}

// Read looks at a whole file.
//
//	P+24  optional header (O)   O+60 u32 size of headers   O+64 u32 checksum, which is not covered
//	O+144 the fifth directory, the certificates: u32 offset in the file, u32 size; neither it nor they are covered
//	in the certificates: u32 length, u16 revision 0x0200, u16 type 2 (PKCS #7), that; the next at a multiple of 8
func Read(image []byte) (Signed, error) {
	le := binary.LittleEndian
	if len(image) < 64 || image[0] != 'M' || image[1] != 'Z' {
		return Signed{}, ErrFormat
	}
	pe := int64(le.Uint32(image[60:]))
	if pe+24+152 > int64(len(image)) || !bytes.Equal(image[pe:pe+4], []byte("PE\x00\x00")) ||
		le.Uint16(image[pe+24:]) != 0x20b {
		return Signed{}, ErrFormat
	}
	optional := pe + 24
	var at, size int64
	if le.Uint32(image[optional+108:]) > 4 {
		at, size = int64(le.Uint32(image[optional+144:])), int64(le.Uint32(image[optional+148:]))
	}
	if size > 0 && at+size > int64(len(image)) {
		return Signed{}, fmt.Errorf("its certificates end outside of the file: %w", ErrFormat)
	}
	var s Signed
	var err error
	if s.Digest, err = digest(image, optional, size); err != nil || size == 0 {
		return s, err
	}
	for table := image[at : at+size]; len(table) >= 8; {
		length := int64(le.Uint32(table))
		if length < 8 || length > int64(len(table)) {
			s.Bad = append(s.Bad, fmt.Errorf("a certificate of %d bytes: %w", length, ErrFormat))
			break
		}
		if kind := le.Uint16(table[6:]); kind != 2 {
			s.Bad = append(s.Bad, fmt.Errorf("a certificate of type %d, which is not known", kind))
		} else if err := s.add(table[8:length]); err != nil {
			s.Bad = append(s.Bad, err)
		}
		table = table[min((length+7)&^7, int64(len(table))):]
	}
	return s, nil
}

const maxSections = 96 // as Microsoft's loader has it

// digest hashes the headers, each section in the order of the file, and what lies behind them but for the certificates.
func digest(image []byte, optional, certificates int64) (sum [sha256.Size]byte, err error) {
	le := binary.LittleEndian
	headers := int64(le.Uint32(image[optional+60:]))
	if headers < optional+152 || headers > int64(len(image)) {
		return sum, fmt.Errorf("headers of %d bytes: %w", headers, ErrFormat)
	}
	h := sha256.New()
	h.Write(image[:optional+64])
	if le.Uint32(image[optional+108:]) > 4 {
		h.Write(image[optional+68 : optional+144])
		h.Write(image[optional+152 : headers])
	} else {
		h.Write(image[optional+68 : headers])
	}
	table, count := optional+int64(le.Uint16(image[optional-4:])), int64(le.Uint16(image[optional-18:]))
	if table+40*count > headers || count > maxSections {
		return sum, fmt.Errorf("%d sections: %w", count, ErrFormat)
	}
	type extent struct{ at, size int64 }
	var sections []extent
	for i := range count {
		s := image[table+40*i:]
		if e := (extent{int64(le.Uint32(s[20:])), int64(le.Uint32(s[16:]))}); e.size > 0 {
			sections = append(sections, e)
		}
	}
	slices.SortStableFunc(sections, func(a, b extent) int { return int(a.at - b.at) })
	hashed := headers
	for _, s := range sections {
		if s.at+s.size > int64(len(image)) || hashed+s.size > int64(len(image)) {
			return sum, fmt.Errorf("its sections are longer than the file: %w", ErrFormat)
		}
		h.Write(image[s.at : s.at+s.size])
		hashed += s.size
	}
	if end := int64(len(image)) - certificates; end > hashed {
		h.Write(image[hashed:end])
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
