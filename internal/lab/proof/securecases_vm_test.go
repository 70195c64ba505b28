//go:build vm

package proof

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/examples/os/osimage"
)

// change is what becomes of a program.
type change = func([]byte) []byte

// signing are the people of the cases, and what they sign.
type signing struct {
	t                                         *testing.T
	us, others, below, alone, curve, old, big signer
	second, lowest                            signer // by one whom below has issued; without below's certificate
	loader, ready                             []byte // as Debian has it; signed by us
}

func newSigning(t *testing.T) *signing {
	parts, err := osimage.FindLoaders()
	require.NoError(t, err)
	loader, err := os.ReadFile(parts.Loader)
	require.NoError(t, err)
	s := &signing{t: t, us: newSigner(t, "us"), others: newSigner(t, "others"), loader: loader}
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s.curve = issue(t, nil, "elliptic", elliptic)
	s.below = issue(t, &s.us, "below us", s.key(2048))
	s.alone = s.below
	s.alone.above = nil
	s.second = issue(t, &s.below, "two below us", s.key(2048))
	s.lowest = s.second
	s.lowest.above = nil
	s.big = issue(t, nil, "of a long key", s.key(4096))
	s.old = issueIn(t, nil, "expired", s.key(2048), time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0))
	s.ready = s.by(s.us)(loader) // each time it is signed the same bytes are covered
	return s
}

func (s *signing) key(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(s.t, err)
	return key
}

func (s *signing) by(who signer) change {
	return func(program []byte) []byte { return who.sign(s.t, program) }
}

// own signs as the packing does.
func (s *signing) own(program []byte) []byte {
	signed, err := authenticode.Sign(program, s.us.private, s.us.x509)
	require.NoError(s.t, err)
	return signed
}

// long signs over a digest that authenticode does not know.
func (s *signing) long(program []byte) []byte {
	in, out := filepath.Join(s.t.TempDir(), "in"), filepath.Join(s.t.TempDir(), "out")
	require.NoError(s.t, os.WriteFile(in, program, 0o644))
	text, err := exec.Command("osslsigncode", "sign", "-h", "sha512", "-certs", s.us.cert, "-key", s.us.key, "-in", in,
		"-out", out).CombinedOutput()
	require.NoError(s.t, err, "%s", text)
	signed, err := os.ReadFile(out)
	require.NoError(s.t, err)
	return signed
}

func asIs(program []byte) []byte { return program }

func forARM64(program []byte) []byte {
	other := bytes.Clone(program)
	binary.LittleEndian.PutUint16(other[binary.LittleEndian.Uint32(other[60:])+4:], 0xaa64)
	return other
}

// noLevels takes a loader its SBAT.
func noLevels(program []byte) []byte {
	return bytes.Replace(program, []byte(".sbat"), []byte(".nope"), 1)
}

// after does one thing, then the other.
func after(do, then change) change { return func(program []byte) []byte { return then(do(program)) } }

// flipped is a program of which one byte is another: that many bytes before its end.
func flipped(back int) change {
	return func(program []byte) []byte {
		other := bytes.Clone(program)
		other[len(other)-back] ^= 1
		return other
	}
}

// touched is a program with another byte in the part that DOS would run, which nothing looks at but its digest.
func touched(program []byte) []byte {
	other := bytes.Clone(program)
	other[0x45] ^= 1
	return other
}

// vendor has a shim know who may sign, and who may not, in place of whom Debian built into it.
func vendor(may, not []byte) change {
	return func(shim []byte) []byte {
		const size = 0x258a // of the section
		at := bytes.Index(shim, []byte("\xa2\x03\x00\x00\xd8\x21\x00\x00\x10\x00\x00\x00\xb2\x03\x00\x00"))
		if at < 0 || 16+len(may)+len(not) > size {
			panic("this shim has another section .vendor_cert")
		}
		b := make([]byte, 16, size)
		for i, n := range []int{len(may), len(not), 16, 16 + len(may)} {
			binary.LittleEndian.PutUint32(b[4*i:], uint32(n))
		}
		b = append(append(b, may...), not...)
		other := bytes.Clone(shim)
		copy(other[at:], b[:size])
		return other
	}
}

func securedCases(t *testing.T) []secured {
	s := newSigning(t)
	return append(s.firmware(), s.shim()...)
}

// firmware are cases in which firmware alone decides.
func (s *signing) firmware() []secured {
	t := s.t
	signed, foreign, ours := s.by(s.us), s.by(s.others), certs(s.us)
	revoked := func(who signer) []secureboot.List {
		sum := sha256.Sum256(who.x509.RawTBSCertificate)
		return []secureboot.List{secureboot.Of(secureboot.TypeX509SHA256, append(sum[:], make([]byte, 16)...))}
	}
	both := after(foreign, signed)
	return []secured{
		{name: "loader for another architecture", loader: forARM64},
		{name: "loader signed by others", loader: foreign, system: signed, db: ours},
		{name: "signed as the packing does", loader: s.own, system: s.own, db: ours, boots: true},
		{name: "system not signed", loader: signed, db: ours},
		{name: "all signed", loader: signed, system: signed, db: ours, boots: true},
		{name: "loader not signed", system: signed, db: ours},
		{name: "loader allowed by its digest", system: signed, db: append(ours, digest(t, s.loader)), boots: true},
		{name: "loader forbidden by its digest", loader: signed, system: signed, db: ours,
			dbx: []secureboot.List{digest(t, s.ready)}},
		{name: "its signer forbidden", loader: signed, system: signed, db: ours, dbx: ours},
		{name: "its signer forbidden by digest", loader: signed, system: signed, db: ours, dbx: revoked(s.us)},
		{name: "who issued its signer allowed", loader: s.by(s.below), system: s.by(s.below), db: ours, boots: true},
		{name: "who issued its signer allowed, and not there", loader: s.by(s.alone), system: s.by(s.alone), db: ours,
			boots: true},
		{name: "its signer alone allowed", loader: s.by(s.alone), system: s.by(s.below), db: certs(s.below), boots: true},
		{name: "who issued its signer forbidden", loader: s.by(s.below), system: s.by(s.below), db: certs(s.below),
			dbx: ours},
		{name: "system signed by others", loader: signed, system: foreign, db: ours},
		{name: "system signed by both", loader: signed, system: both, db: ours, boots: true},
		{name: "signed over an elliptic curve", loader: s.by(s.curve), system: s.by(s.curve), db: certs(s.curve),
			unsure: true},
		{name: "system signed by both, others forbidden", loader: signed, system: both, db: ours, dbx: certs(s.others)},
		{name: "system forbidden by its digest", loader: signed, system: signed, db: ours,
			dbx: []secureboot.List{systemDigest(t, signed)}},
		{name: "each signed by one of two who are allowed", loader: signed, system: foreign, db: certs(s.us, s.others),
			boots: true},
		{name: "who issued the signer's issuer allowed", loader: s.by(s.second), system: s.by(s.second), db: ours,
			boots: true},
		{name: "the same, and what is between is not there", loader: s.by(s.second), system: s.by(s.lowest), db: ours},
		{name: "what is between forbidden by digest", loader: s.by(s.second), system: signed, db: ours,
			dbx: revoked(s.below), boots: true},
		{name: "signed with an expired certificate", loader: s.by(s.old), system: s.by(s.old), db: certs(s.old),
			boots: true},
		{name: "signed with a long key", loader: s.by(s.big), system: s.by(s.big), db: certs(s.big), boots: true},
		{name: "signed over another digest", loader: signed, system: s.long, db: ours, boots: true, unsure: true},
		{name: "system changed after it was signed", loader: signed, system: after(signed, touched), db: ours},
		{name: "loader with a damaged signature", loader: after(signed, flipped(100)), system: signed, db: ours},
		{name: "switched off in the setup, nothing signed", db: ours, off: true, boots: true},
		{name: "in setup mode, nothing signed", db: ours, setup: true, boots: true},
	}
}

// shim are the same behind Debian's shim.
func (s *signing) shim() []secured {
	t := s.t
	signed, foreign, ours := s.by(s.us), s.by(s.others), certs(s.us)
	others := certs(s.others)
	vendored := vendor(s.others.x509.Raw, nil)
	byDigest := append(certs(s.big), digest(t, vendored(debianShim(t)))) // which firmware alone looks at
	all := []secured{
		{name: "all signed", boots: true},
		{name: "that others signed", shim: foreign},
		{name: "loader not signed", loader: asIs},
		{name: "loader signed by others", loader: foreign},
		{name: "system not signed", system: asIs},
		{name: "all by one who is in MokList", loader: foreign, system: foreign, mok: others, boots: true},
		{name: "system by one who is in MokList", system: foreign, mok: others, boots: true},
		{name: "loader without SBAT", loader: after(noLevels, signed)},
		{name: "loader forbidden by its digest", dbx: []secureboot.List{digest(t, s.ready)}},
		{name: "system allowed by its digest", system: asIs, db: append(ours, systemDigest(t, asIs)), boots: true},
		{name: "system forbidden by its digest", dbx: []secureboot.List{systemDigest(t, signed)}},
		{name: "loader allowed by its digest, as firmware has it, in MokList", loader: asIs,
			mok: []secureboot.List{digest(t, s.loader)}},
		{name: "system by one who is in MokList and in MokListX", system: foreign, mok: others, mokx: others},
		{name: "loader forbidden by its digest in MokListX", mokx: []secureboot.List{digest(t, s.ready)}},
		{name: "loader of a generation that is revoked", levels: "sbat,1,2090010100\nsystemd,2\n"},
		{name: "others of a generation that is revoked", levels: "sbat,1,2090010100\nshim,4\ngrub,9\n", boots: true},
		{name: "with who signed all built in", shim: vendored, db: byDigest, loader: foreign, system: foreign, boots: true},
		{name: "with others than the loader's signer built in", shim: vendored, db: byDigest},
		{name: "which forbids the loader's signer by itself", shim: after(vendor(s.us.x509.Raw,
			lists(t, others...)), signed), loader: foreign, mok: others},
		{name: "which does not ask db", noDB: true},
		{name: "without a loader behind it, a copy by the shim beside it", gone: true, spare: true, boots: true},
		{name: "which does not ask db, all by one who is in MokList", noDB: true, loader: foreign, system: foreign,
			mok: others, boots: true},
		{name: "whose checks are switched off, loader not signed", insecure: true, loader: asIs, boots: true},
		{name: "whose checks are switched off, system not signed", insecure: true, system: asIs, boots: true},
		{name: "without a loader behind it", gone: true},
		{name: "gone, a copy by the shim beside it", gone: true, spare: true, spareOnly: true, boots: true},
		{name: "without a loader behind it, the copy signed by others", gone: true, spare: true, loader: foreign},
		{name: "with Secure Boot off, nothing signed", shim: asIs, loader: asIs, system: asIs, off: true, boots: true},
	}
	for i, c := range all {
		c.name = "behind a shim, " + c.name
		for _, p := range []*change{&c.shim, &c.loader, &c.system} {
			if *p == nil {
				*p = signed
			}
		}
		if c.db == nil {
			c.db = ours
		}
		all[i] = c
	}
	return all
}

// systemDigest is that of the system in slot A.
func systemDigest(t *testing.T, becomes change) secureboot.List {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	fs, err := m.fs()
	require.NoError(t, err)
	data, err := fs.ReadFile(bootloader.A.File(bootloader.UKIFile))
	require.NoError(t, err)
	return digest(t, becomes(data))
}
