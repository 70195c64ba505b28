package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader/authenticode"
)

// known is what lists say, ready to judge by.
type known struct {
	certs   []*x509.Certificate
	hashes  map[[sha256.Size]byte]bool
	revoked map[string]bool // digests of certificates' signed parts; true: whenever they signed, else from a time on
	// why something in them can not be judged by: they cannot be read, or one of them cannot; nil when all can
	unread error
}

// decode makes lists ready.
func decode(b []byte) known {
	lists, err := Decode(b)
	k := known{unread: err}
	for _, l := range lists {
		k.add(l)
	}
	return k
}

func (k *known) add(l List) {
	sizes := map[any]int{TypeX509SHA256: sha256.Size, TypeX509SHA384: sha512.Size384, TypeX509SHA512: sha512.Size}
	for _, e := range l.Entries {
		switch n := sizes[l.Type]; {
		case l.Type == TypeX509:
			k.addCertificate(e.Data)
		case l.Type == TypeSHA256 && len(e.Data) == sha256.Size:
			if k.hashes == nil {
				k.hashes = map[[sha256.Size]byte]bool{}
			}
			k.hashes[[sha256.Size]byte(e.Data)] = true
		case n > 0 && len(e.Data) == n+16:
			if k.revoked == nil {
				k.revoked = map[string]bool{}
			}
			k.revoked[string(e.Data[:n])] = bytes.Equal(e.Data[n:], make([]byte, 16))
		}
	}
}

func (k *known) addCertificate(der []byte) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		k.unread = errors.Join(k.unread, fmt.Errorf("a certificate that cannot be read: %w", err))
		return
	}
	k.certs = append(k.certs, c)
}

// with is k and others together.
func (k known) with(others ...known) known {
	all := known{hashes: map[[sha256.Size]byte]bool{}, revoked: map[string]bool{}}
	for _, o := range append([]known{k}, others...) {
		all.certs = append(all.certs, o.certs...)
		for h := range o.hashes {
			all.hashes[h] = true
		}
		for h, always := range o.revoked {
			all.revoked[h] = always
		}
		all.unread = errors.Join(all.unread, o.unread)
	}
	return all
}

// trusts is a certificate of k that a signature leads to: that of each of its signers, or of one that issued it, over
// any of the certificates that came with it. nil: none.
func (k known) trusts(s authenticode.Signature) *x509.Certificate {
	if s.Err != nil || len(s.Signers) == 0 {
		return nil
	}
	for _, root := range k.certs {
		if !slices.ContainsFunc(s.Signers, func(c *x509.Certificate) bool {
			return !leads(c, s.Certificates, root, 0)
		}) {
			return root
		}
	}
	return nil
}

// mostOfChain is longer than any chain.
const mostOfChain = 8

// leads reports whether a chain leads from c to root. As in firmware, no time is looked at, a root need not have issued
// itself, and what comes between must be an authority.
func leads(c *x509.Certificate, pool []*x509.Certificate, root *x509.Certificate, below int) bool {
	if c.Equal(root) {
		return true
	}
	if below == mostOfChain {
		return false
	}
	issued := func(by *x509.Certificate) bool {
		return bytes.Equal(by.RawSubject, c.RawIssuer) && authority(by, below) &&
			by.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
	}
	if issued(root) {
		return true
	}
	return slices.ContainsFunc(pool, func(by *x509.Certificate) bool {
		return !by.Equal(c) && issued(by) && leads(by, pool, root, below+1)
	})
}

// authority reports whether a certificate may have issued others, with so many authorities below it.
func authority(c *x509.Certificate, below int) bool {
	switch {
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return false
	case c.BasicConstraintsValid:
		return c.IsCA && (c.MaxPathLen < 0 || c.MaxPathLen == 0 && !c.MaxPathLenZero || below <= c.MaxPathLen)
	}
	return c.KeyUsage != 0 || c.Version == 1 && bytes.Equal(c.RawSubject, c.RawIssuer)
}

// revokes reports whether a certificate's digest is among k, and whether that counts whenever it signed.
func (k known) revokes(c *x509.Certificate) (found, always bool) {
	if len(k.revoked) == 0 {
		return false, false
	}
	a, b, d := sha256.Sum256(c.RawTBSCertificate), sha512.Sum384(c.RawTBSCertificate), sha512.Sum512(c.RawTBSCertificate)
	for _, sum := range [][]byte{a[:], b[:], d[:]} {
		if at, ok := k.revoked[string(sum)]; ok {
			found, always = true, always || at
		}
	}
	return found, always
}

// modules is the extended key usage of keys that sign nothing but the kernel's modules.
var modules = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 2312, 16, 1, 2}

// forPrograms is k without the certificates that are for the kernel's modules alone, which a shim leaves out.
func (k known) forPrograms() known {
	k.certs = slices.DeleteFunc(slices.Clone(k.certs), func(c *x509.Certificate) bool {
		return slices.ContainsFunc(c.UnknownExtKeyUsage, modules.Equal)
	})
	return k
}
