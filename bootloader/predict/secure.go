package predict

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// What Secure Boot goes by: UEFI 2.10, section 32.4.1. A list is its type, u32 size of all, u32 size of a header, u32
// size of each entry; an entry is its owner's GUID and the data.
const (
	securityGUID = "d719b2cb-3d3a-4596-a3bc-dad00e67656f" // the owner of db and dbx
	typeX509     = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
	typeSHA256   = "c1c41626-504c-4092-aca9-41f936934328"
)

// Signatures is the name of one of the firmware's lists of who may sign programs: "db", and "dbx" of who may not.
func Signatures(list string) efivar.Name {
	guid, err := efivar.ParseGUID(securityGUID)
	if err != nil {
		panic(err)
	}
	return efivar.Name{Name: list, GUID: guid}
}

// secure reports whether firmware checks signatures.
func (b *boot) secure() bool {
	v, err := b.vars.Read(efivar.Global("SecureBoot"))
	return err == nil && len(v.Data) == 1 && v.Data[0] == 1
}

// most of a program that is read with Options.Skim, to look at its signatures: a loader is smaller, and a system is
// taken to be good.
const mostOfProgram = 8 << 20

// signed is why firmware refuses a program by its signatures. It is nil too where that cannot be known: who may sign is
// not there to be read, or a shim asks others.
func (b *boot) signed(t *taken) error {
	if !b.secure() || b.shimmed || b.o.Skim && t.size > mostOfProgram {
		return nil
	}
	v, err := b.vars.Read(Signatures("db"))
	if err != nil {
		return nil
	}
	may, err := decodeSignatures(v.Data)
	if err != nil {
		return nil
	}
	var not signatures
	if v, err := b.vars.Read(Signatures("dbx")); err == nil {
		if not, err = decodeSignatures(v.Data); err != nil {
			return nil
		}
	}
	content, err := io.ReadAll(io.NewSectionReader(t, 0, t.size))
	if err != nil {
		return err
	}
	s, err := authenticode.Read(content)
	switch {
	case err != nil:
		return fmt.Errorf("refused by Secure Boot: %w", err)
	case slices.Contains(not.digests, s.Digest), not.trusts(s):
		return errors.New("refused by Secure Boot: it is among what is forbidden (dbx)")
	case slices.Contains(may.digests, s.Digest), may.trusts(s):
		return nil
	case len(s.Signers) == 0:
		return errors.New("refused by Secure Boot: it is not signed")
	}
	return fmt.Errorf("refused by Secure Boot: nobody who may (db) signed it, but %q", s.Signers[0].Subject.CommonName)
}

// signatures is a decoded list.
type signatures struct {
	certs   []*x509.Certificate
	digests [][sha256.Size]byte
}

// trusts reports whether a certificate of the list signed a program, or issued one that did.
func (l signatures) trusts(s authenticode.Signed) bool {
	if len(s.Signers) == 0 {
		return false
	}
	return slices.ContainsFunc(append(slices.Clone(s.Signers), s.Others...), func(c *x509.Certificate) bool {
		return slices.ContainsFunc(l.certs, func(by *x509.Certificate) bool {
			return by.Equal(c) || bytes.Equal(by.RawSubject, c.RawIssuer) && by.CheckSignature(c.SignatureAlgorithm,
				c.RawTBSCertificate, c.Signature) == nil
		})
	})
}

func decodeSignatures(b []byte) (l signatures, err error) {
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < 28 {
			return l, fmt.Errorf("a list of %d bytes: %w", len(b), efivar.ErrFormat)
		}
		size, header, each := int(le.Uint32(b[16:])), int(le.Uint32(b[20:])), int(le.Uint32(b[24:]))
		if size < 28 || size > len(b) || header < 0 || header > size-28 || each < 16 {
			return l, fmt.Errorf("a list of %d bytes, of %d: %w", size, len(b), efivar.ErrFormat)
		}
		for rest := b[28+header : size]; len(rest) >= each; rest = rest[each:] {
			switch data := rest[16:each]; mixedGUID(b) {
			case typeX509:
				if c, err := x509.ParseCertificate(data); err == nil { // one that cannot be read trusts nobody
					l.certs = append(l.certs, c)
				}
			case typeSHA256:
				if len(data) == sha256.Size {
					l.digests = append(l.digests, [sha256.Size]byte(data))
				}
			}
		}
		b = b[size:]
	}
	return l, nil
}

// mixedGUID is the text of a GUID as firmware has it.
func mixedGUID(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// isShim reports whether a program is a shim.
func isShim(sections []section) bool {
	return find(sections, ".vendor_cert") != nil || find(sections, ".data.ident") != nil ||
		strings.Contains("\n"+string(find(sections, ".sbat")), "\nshim,")
}

// shim does what a shim does: it starts the loader beside it, and asks keys of its own whether that is signed. What
// comes of them is not known here, so all is taken to be signed.
func (b *boot) shim(v *volume, path string) error {
	if b.shimmed {
		return fmt.Errorf("a shim behind a shim: %w", ErrNotModelled)
	}
	b.shimmed = true
	next := b.behindShim(path)
	dir := next[:strings.LastIndex(next, "/")+1]
	if fallback := dir + strings.Replace(next[len(dir):], "grub", "fb", 1); strings.EqualFold(cleanPath(path),
		b.removable()) {
		if _, err := v.open(fallback); err == nil {
			return fmt.Errorf("a shim with %s beside it: %w", fallback, ErrNotModelled)
		}
	}
	b.because("A shim starts %s.", next)
	return b.start(v, next)
}

// behindShim is the loader that a shim starts.
func (b *boot) behindShim(path string) string {
	path = cleanPath(path)
	name := "grubx64.efi"
	if b.arch() == "arm64" {
		name = "grubaa64.efi"
	}
	return path[:strings.LastIndex(path, "/")+1] + name
}

// isLoader reports whether a program is a loader that the model follows, at once or behind a shim.
func (b *boot) isLoader(v *volume, path string, sections []section) bool {
	if isShim(sections) {
		b.shimmed = true
		defer func() { b.shimmed = false }()
		behind, err := b.load(v, b.behindShim(path))
		return err == nil && (isSystemdBoot(behind) || isGRUB(behind))
	}
	return isSystemdBoot(sections) || isGRUB(sections)
}
