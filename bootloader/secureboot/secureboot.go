// Package secureboot says whether firmware with Secure Boot starts a program, and whether a shim does, by what the
// firmware's variables hold.
//
// Start with Read, then Firmware.Judge, or Firmware.Shim for what starts behind a shim. The judgement is that of EDK II
// (its DxeImageVerificationLib) and of shim 15 and 16: a program is refused whose digest, or whose signer, is in dbx;
// one is accepted whose digest is in db, or of whose signatures one leads to a certificate in db, over any of the
// certificates that came with it, whatever the time; anything else is refused.
//
// What cannot be known is ErrUnknown, never a guess: a variable that cannot be read, a certificate or a signature of a
// kind that is not known here, a revocation that depends on when something was signed. Firmware of others may look at
// more than EDK II does. It does not verify the lists themselves, which firmware did when they were written.
//
// Specification: UEFI 2.10, sections 32.4 (signature lists), 32.5 and 32.6.3.3; shim's SBAT.md, and its README.
package secureboot

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Errors of this package.
var (
	// ErrRefused is returned for a program that is not started. Do: sign it with a key that this firmware knows, or
	// enrol that key.
	ErrRefused = errors.New("refused by Secure Boot")
	// ErrUnknown is returned where it is not known whether a program is started. Do: see it start, or leave what starts
	// now.
	ErrUnknown = errors.New("whether Secure Boot accepts it is not known")
	// ErrFormat is returned for bytes that are no list of signatures. Do: treat them as not understood.
	ErrFormat = errors.New("malformed list of signatures")
)

// The owners of variables that matter here.
var (
	security = guid("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
	shimLock = guid("605dab50-e046-4300-abb6-3dd810dd8b23")
)

// Database is the name of one of the firmware's lists of who may sign programs: "db", and "dbx" of who may not.
func Database(list string) efivar.Name { return efivar.Name{Name: list, GUID: security} }

// Mok is the name of a variable of shim's, such as "MokListRT".
func Mok(name string) efivar.Name { return efivar.Name{Name: name, GUID: shimLock} }

// Switches are the variables that only the firmware, its setup or a shim sets: what an operating system does, and a
// restart, leaves them as they are, though they are volatile. Those of a long MokList have numbers behind their names.
func Switches(n efivar.Name) bool {
	switch n {
	case efivar.Global("SecureBoot"), efivar.Global("SetupMode"):
		return true
	}
	return n.GUID == shimLock
}

// Vars is where variables are read. [efivar.Store] is one.
type Vars interface {
	Read(efivar.Name) (efivar.Variable, error)
}

// Firmware is what a machine's firmware, and a shim, judge programs by.
type Firmware struct {
	on      bool
	unknown error // why it is not known whether it checks; nil when it is
	setup   bool
	db, dbx known
	dbt     bool // there is a list of who may say when something was signed
	shim    shimVariables
}

// Read reads what there is to judge by. What cannot be read is told by the judgements that depend on it.
func Read(vars Vars) Firmware {
	var f Firmware
	f.on, f.unknown = flag(vars, efivar.Global("SecureBoot"))
	if !f.Checks() {
		f.setup, _ = flag(vars, efivar.Global("SetupMode"))
		return f
	}
	f.db, f.dbx = list(vars, Database("db")), list(vars, Database("dbx"))
	if _, err := vars.Read(Database("db")); missing(err) { // and something has started this machine
		f.db.unread = fmt.Errorf("db: %w", err)
	}
	_, err := vars.Read(Database("dbt"))
	f.dbt = !missing(err)
	f.shim = readShim(vars)
	return f
}

// flag reads a variable of one byte that is 0 or 1. One that is not there is 0.
func flag(vars Vars, name efivar.Name) (bool, error) {
	switch v, err := vars.Read(name); {
	case missing(err):
		return false, nil
	case err != nil:
		return false, err
	case len(v.Data) == 1 && v.Data[0] <= 1:
		return v.Data[0] == 1, nil
	default:
		return false, fmt.Errorf("%s holds %.16x", name.Name, v.Data)
	}
}

// list reads a list. One that is not there has no entries.
func list(vars Vars, name efivar.Name) known {
	v, err := vars.Read(name)
	switch {
	case missing(err):
		return known{}
	case err != nil:
		return known{unread: fmt.Errorf("%s: %w", name.Name, err)}
	}
	k := decode(v.Data)
	if k.unread != nil {
		k.unread = fmt.Errorf("%s: %w", name.Name, k.unread)
	}
	return k
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Checks reports whether this firmware checks signatures, or may.
func (f Firmware) Checks() bool { return f.on || f.unknown != nil }

// SetupMode reports whether the firmware has no platform key, so that whoever runs can enroll keys.
func (f Firmware) SetupMode() bool { return !f.Checks() && f.setup }

// String says in which mode the firmware is.
func (f Firmware) String() string {
	switch {
	case f.unknown != nil:
		return fmt.Sprintf("whether Secure Boot is on is not known (%v)", f.unknown)
	case f.on:
		return "Secure Boot is on"
	case f.setup:
		return "Secure Boot is off, in setup mode"
	}
	return "Secure Boot is off"
}

// Judge says why the firmware does not start a program: ErrRefused or ErrUnknown. nil: it does, as far as signatures
// go.
func (f Firmware) Judge(s authenticode.Signed) error {
	if !f.Checks() {
		return nil
	}
	return f.sure(f.verdict(s, f.db, f.dbx, "db", "dbx"))
}

// Unsigned says why the firmware starts no program without a signature: [ErrRefused] or [ErrUnknown]. nil: it may start
// one, by its digest, or by the word of a shim.
func (f Firmware) Unsigned() error {
	if !f.Checks() || f.shim.told || len(f.db.hashes) > 0 {
		return nil
	}
	return f.sure(f.verdict(authenticode.Signed{}, f.db, f.dbx, "db", "dbx"))
}

// sure is a refusal where the firmware is known to check.
func (f Firmware) sure(err error) error {
	if f.unknown != nil && errors.Is(err, ErrRefused) {
		return fmt.Errorf("%w: %v; if it is, then: %v", ErrUnknown, f, err)
	}
	return err
}

// verdict holds a program against who may and who may not, which have names for people.
func (f Firmware) verdict(s authenticode.Signed, may, not known, db, dbx string) error {
	if s.Table != nil {
		return fmt.Errorf("%w: its signatures cannot be read: %w", ErrRefused, s.Table)
	}
	if not.hashes[s.Digest] {
		return fmt.Errorf("%w: its digest is in %s", ErrRefused, dbx)
	}
	// What would matter if it is accepted, and what if it is refused.
	forbids, allows, accepted := not.unread, may.unread, may.hashes[s.Digest]
	for _, sig := range s.Signatures {
		if errors.Is(sig.Err, authenticode.ErrUnknown) {
			allows = errors.Join(allows, sig.Err)
		}
		if c := not.trusts(sig); c != nil {
			return fmt.Errorf("%w: the certificate %q is in %s", ErrRefused, c.Subject.CommonName, dbx)
		}
		root := may.trusts(sig)
		if odd := notRSA(sig, root); odd != nil {
			allows = errors.Join(allows, odd)
		} else {
			accepted = accepted || root != nil
		}
		certs := sig.Signers
		if root != nil {
			certs = append(certs[:len(certs):len(certs)], root)
		}
		for _, c := range certs {
			switch found, always := not.revokes(c); {
			case found && (always || !f.dbt):
				return fmt.Errorf("%w: the digest of the certificate %q is in %s", ErrRefused, c.Subject.CommonName, dbx)
			case found:
				forbids = errors.Join(forbids, fmt.Errorf("the certificate %q is revoked for what was signed after a "+
					"certain time", c.Subject.CommonName))
			}
		}
	}
	switch {
	case accepted && forbids != nil:
		return fmt.Errorf("%w: %w", ErrUnknown, forbids)
	case accepted:
		return nil
	case allows != nil:
		return fmt.Errorf("%w: %w", ErrUnknown, allows)
	}
	return fmt.Errorf("%w: not signed by a certificate in %s%s", ErrRefused, db, by(s))
}

// notRSA says why it is not known whether firmware can verify a signature that leads to root: EDK II as it is built by
// default knows RSA alone. nil where it can, and where nothing depends on it.
func notRSA(sig authenticode.Signature, root *x509.Certificate) error {
	if root == nil {
		return nil
	}
	for _, c := range append(sig.Signers[:len(sig.Signers):len(sig.Signers)], root) {
		if c.PublicKeyAlgorithm != x509.RSA {
			return fmt.Errorf("the key of the certificate %q is of %v, which not every firmware knows",
				c.Subject.CommonName, c.PublicKeyAlgorithm)
		}
	}
	return nil
}

// by says who signed a program instead.
func by(s authenticode.Signed) string {
	signers := s.Signers()
	switch err := s.Bad(); {
	case len(signers) > 0:
		return fmt.Sprintf(", but by %q", signers[0].Subject.CommonName)
	case err != nil:
		return fmt.Sprintf(" (it has %v)", err)
	}
	return ""
}
