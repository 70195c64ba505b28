// Package authenticode says who signed a program for EFI, as firmware with Secure Boot looks at it.
//
// Start with Read, or with ReadAt for what need not be in memory; Sign makes signatures. A signer counts only when its
// signature is whole: it covers the bytes of this very file, and the key of its certificate made it. Whether anybody
// trusts that certificate is not judged here (package secureboot does), nor are chains, times or revocations.
//
// RSA and ECDSA with SHA-256, SHA-384 or SHA-512 over a SHA-256 digest of the file are known; others are [ErrUnknown].
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
	"io"
	"slices"
)

// ErrFormat is returned when bytes are not a program for EFI whose signatures can be looked for. Do: build or fetch it
// again.
var ErrFormat = errors.New("not a PE32+ image")

// ErrUnknown is returned in [Signature.Err] for a signature of a kind that is not known here, and that firmware may
// know. Do: treat it as one of which nothing can be said.
var ErrUnknown = errors.New("of a kind that is not known here")

// Signed is what a file says of its signatures. One without any is no error.
type Signed struct {
	Digest     [sha256.Size]byte // of the file without what signing changes: what the signatures cover
	Padded     [sha256.Size]byte // the same of the file padded to a multiple of 8, as a shim hashes one that is not signed
	Signatures []Signature       // in their order
	// Table is why the list of signatures is not whole: it does not end where the headers say. Firmware counts none of
	// them then. nil when it is.
	Table error
}

// Signature is one of a file's signatures.
type Signature struct {
	Signers      []*x509.Certificate // who made it, mostly one; none with Err
	Certificates []*x509.Certificate // all that came with it, those of the signers and of who issued them among them
	Err          error               // why it does not count; nil when it is whole
}

// Signers are the certificates that made the signatures which are whole, in their order.
func (s Signed) Signers() (certs []*x509.Certificate) {
	for _, sig := range s.Signatures {
		certs = append(certs, sig.Signers...)
	}
	return certs
}

// Bad says why signatures do not count; nil when all do.
func (s Signed) Bad() error {
	var all []error
	for _, sig := range s.Signatures {
		all = append(all, sig.Err)
	}
	return errors.Join(append(all, s.Table)...)
}

// By reports whether one of the certificates that signed s is among certs.
func (s Signed) By(certs []*x509.Certificate) bool {
	return slices.ContainsFunc(s.Signers(), func(c *x509.Certificate) bool {
		return slices.ContainsFunc(certs, c.Equal)
	})
}

// Read looks at a whole file.
func Read(image []byte) (Signed, error) { return ReadAt(bytes.NewReader(image), int64(len(image))) }

// Bounds on what is held in memory. Headers of real programs have about 1 KiB, a signature about 2.
const (
	maxHeaders      = 1 << 20
	maxCertificates = 1 << 20
	maxSections     = 96 // as Microsoft's loader has it
)

// ReadAt looks at a whole file of size bytes, of which it keeps headers and signatures in memory. An error of r is
// returned as it is.
//
//	P+24  optional header (O)   O+60 u32 size of headers   O+64 u32 checksum, which is not covered
//	O+144 the fifth directory, the certificates: u32 offset in the file, u32 size; neither it nor they are covered
//	in the certificates: u32 length, u16 revision 0x0200, u16 type 2 (PKCS #7), that; the next at a multiple of 8
func ReadAt(r io.ReaderAt, size int64) (Signed, error) {
	f, err := open(r, size)
	if err != nil {
		return Signed{}, err
	}
	var s Signed
	if s.Digest, s.Padded, err = f.digest(); err != nil || f.certs.size == 0 {
		return s, err
	}
	table, err := f.bytes(f.certs)
	if err != nil {
		return s, err
	}
	le := binary.LittleEndian
	for len(table) > 0 {
		if len(table) <= 8 {
			s.Table = fmt.Errorf("%d bytes behind the last signature: %w", len(table), ErrFormat)
			break
		}
		length := int64(le.Uint32(table))
		if length < 8 || length > int64(len(table)) {
			s.Table = fmt.Errorf("a signature of %d bytes, where there are %d: %w", length, len(table), ErrFormat)
			break
		}
		if kind := le.Uint16(table[6:]); kind != 2 {
			s.Signatures = append(s.Signatures, Signature{Err: fmt.Errorf("a signature of type %d, %w", kind,
				ErrUnknown)})
		} else {
			s.Signatures = append(s.Signatures, s.read(table[8:length]))
		}
		next := (length + 7) &^ 7
		if next > int64(len(table)) {
			s.Table = fmt.Errorf("the last signature is not padded to a multiple of 8: %w", ErrFormat)
			break
		}
		table = table[next:]
	}
	return s, nil
}

// IsSigned reports whether a program has any signature, by its headers alone: r need hold no more than those of a file
// of size bytes.
func IsSigned(r io.ReaderAt, size int64) (bool, error) {
	f, err := open(r, size)
	return f.certs.size > 0, err
}

// program is a file whose headers make sense so far.
type program struct {
	r        io.ReaderAt
	size     int64
	headers  []byte
	optional int64  // where the optional header begins
	certs    extent // the list of signatures; without a size there is none
	listed   bool   // the headers have a place for it
}

type extent struct{ at, size int64 }

func open(r io.ReaderAt, size int64) (f program, err error) {
	le := binary.LittleEndian
	f = program{r: r, size: size}
	dos, err := f.bytes(extent{0, 64})
	if err != nil {
		return f, err
	}
	if dos[0] != 'M' || dos[1] != 'Z' {
		return f, ErrFormat
	}
	pe := int64(le.Uint32(dos[60:]))
	f.optional = pe + 24
	head, err := f.bytes(extent{pe, 24 + 152})
	if err != nil {
		return f, err
	}
	if !bytes.Equal(head[:4], []byte("PE\x00\x00")) || le.Uint16(head[24:]) != 0x20b {
		return f, ErrFormat
	}
	headers := int64(le.Uint32(head[24+60:]))
	if headers < f.optional+152 || headers > maxHeaders {
		return f, fmt.Errorf("headers of %d bytes: %w", headers, ErrFormat)
	}
	if f.listed = le.Uint32(head[24+108:]) > 4; f.listed {
		f.certs = extent{int64(le.Uint32(head[24+144:])), int64(le.Uint32(head[24+148:]))}
	}
	if f.certs.size > maxCertificates || f.certs.size > 0 && f.certs.at+f.certs.size > size {
		return f, fmt.Errorf("its certificates end outside of the file: %w", ErrFormat)
	}
	f.headers, err = f.bytes(extent{0, headers})
	return f, err
}

// bytes reads a part of the file. One that is not in it is ErrFormat.
func (f program) bytes(e extent) ([]byte, error) {
	if e.at < 0 || e.at+e.size > f.size {
		return nil, ErrFormat
	}
	b := make([]byte, e.size)
	if n, err := f.r.ReadAt(b, e.at); n < len(b) {
		return nil, err
	}
	return b, nil
}

// digest hashes the headers, each section in the order of the file, and what lies behind them but for the certificates.
// padded is the same with zeros behind, up to a multiple of 8, of a file that has no certificates.
func (f program) digest() (sum, padded [sha256.Size]byte, err error) {
	le, o := binary.LittleEndian, f.optional
	h := sha256.New()
	h.Write(f.headers[:o+64])
	if f.listed {
		h.Write(f.headers[o+68 : o+144])
		h.Write(f.headers[o+152:])
	} else {
		h.Write(f.headers[o+68:])
	}
	headers := int64(len(f.headers))
	table, count := o+int64(le.Uint16(f.headers[o-4:])), int64(le.Uint16(f.headers[o-18:]))
	if table+40*count > headers || count > maxSections {
		return sum, sum, fmt.Errorf("%d sections: %w", count, ErrFormat)
	}
	var sections []extent
	for i := range count {
		s := f.headers[table+40*i:]
		if e := (extent{int64(le.Uint32(s[20:])), int64(le.Uint32(s[16:]))}); e.size > 0 {
			sections = append(sections, e)
		}
	}
	slices.SortStableFunc(sections, func(a, b extent) int { return int(a.at - b.at) })
	hashed := headers
	for _, s := range sections {
		if s.at+s.size > f.size || hashed+s.size > f.size {
			return sum, sum, fmt.Errorf("its sections are longer than the file: %w", ErrFormat)
		}
		if err := f.copy(h, s); err != nil {
			return sum, sum, err
		}
		hashed += s.size
	}
	end := f.size - f.certs.size
	if end > hashed {
		if err := f.copy(h, extent{hashed, end - hashed}); err != nil {
			return sum, sum, err
		}
	}
	sum = [sha256.Size]byte(h.Sum(nil))
	if f.certs.size == 0 && end > hashed {
		h.Write(make([]byte, -end&7))
	}
	return sum, [sha256.Size]byte(h.Sum(nil)), nil
}

func (f program) copy(to io.Writer, e extent) error {
	n, err := io.Copy(to, io.NewSectionReader(f.r, e.at, e.size))
	if err == nil && n < e.size {
		err = io.ErrUnexpectedEOF
	}
	return err
}
