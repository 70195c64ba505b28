package secureboot_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// keys are a root, who may issue, an authority below it, and who signs; and one that nobody knows.
type keys struct{ root, middle, leaf, other, notCA, belowNotCA, impostor loadertest.Key }

func makeKeys(t *testing.T) (k keys) {
	t.Helper()
	ca := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	plain := func(*x509.Certificate) {}
	make := func(by loadertest.Key, name string, change func(*x509.Certificate)) loadertest.Key {
		made, err := by.Issue(name, change)
		require.NoError(t, err)
		return made
	}
	k.root = make(loadertest.Key{}, "root", ca)
	k.middle = make(k.root, "middle", ca)
	k.leaf = make(k.middle, "leaf", plain)
	k.other = make(loadertest.Key{}, "other", plain)
	k.notCA = make(k.root, "not an authority", func(c *x509.Certificate) { c.BasicConstraintsValid = true })
	k.impostor = make(make(loadertest.Key{}, "root", ca), "impostor", plain)
	k.belowNotCA = make(k.notCA, "below", plain)
	return k
}

func sign(t *testing.T, image []byte, by loadertest.Key, with ...loadertest.Key) authenticode.Signed {
	t.Helper()
	signed, err := by.Sign(image, with...)
	require.NoError(t, err)
	return read(t, signed)
}

func read(t *testing.T, image []byte) authenticode.Signed {
	t.Helper()
	s, err := authenticode.Read(image)
	require.NoError(t, err)
	return s
}

// variables are those of a firmware that checks. A list that is nil is not there.
func variables(t *testing.T, lists map[efivar.Name][]secureboot.List) *efivar.Memory {
	t.Helper()
	vars := efivar.NewMemory()
	write := func(n efivar.Name, attributes uint32, data []byte) {
		require.NoError(t, vars.Write(n, efivar.Variable{Attributes: attributes, Data: data}))
	}
	write(efivar.Global("SecureBoot"), efivar.BootService|efivar.Runtime, []byte{1})
	for name, l := range lists {
		data, err := secureboot.Encode(l...)
		require.NoError(t, err)
		write(name, efivar.Kept, data)
	}
	return vars
}

func cert(k ...loadertest.Key) (lists []secureboot.List) {
	for _, k := range k {
		lists = append(lists, secureboot.Of(secureboot.TypeX509, k.Certificate.Raw))
	}
	return lists
}

func hash(s ...authenticode.Signed) []secureboot.List {
	l := secureboot.Of(secureboot.TypeSHA256)
	for _, s := range s {
		l.Size = 48
		l.Entries = append(l.Entries, secureboot.Entry{Data: append([]byte(nil), s.Digest[:]...)})
	}
	return []secureboot.List{l}
}

// revoked is an entry of dbx by the digest of what a certificate's signature covers.
func revoked(k loadertest.Key, from byte) []secureboot.List {
	sum := sha256.Sum256(k.Certificate.RawTBSCertificate)
	time := make([]byte, 16)
	time[0] = from
	return []secureboot.List{secureboot.Of(secureboot.TypeX509SHA256, append(sum[:], time...))}
}

var (
	db  = secureboot.Database("db")
	dbx = secureboot.Database("dbx")
	dbt = secureboot.Database("dbt")
)

type lists = map[efivar.Name][]secureboot.List

func TestWhatFirmwareStarts(t *testing.T) {
	k := makeKeys(t)
	image := loadertest.Loader("amd64")
	bare := read(t, image)
	byLeaf := sign(t, image, k.leaf, k.middle)
	changed := append([]byte(nil), image...)
	changed[len(changed)-1] ^= 1
	unlike := byLeaf
	unlike.Signatures = append([]authenticode.Signature{{Err: authenticode.ErrUnknown}}, unlike.Signatures[1:]...)
	curveDER, err := os.ReadFile("../authenticode/testdata/e.efi")
	require.NoError(t, err)
	curve := read(t, curveDER)
	curveList := []secureboot.List{secureboot.Of(secureboot.TypeX509, curve.Signers()[0].Raw)}
	both := byLeaf
	both.Signatures = append(curve.Signatures[:1:1], byLeaf.Signatures...)
	torn := byLeaf
	torn.Table = authenticode.ErrFormat
	for name, c := range map[string]struct {
		program authenticode.Signed
		lists   lists
		want    error
		says    string
	}{
		"signer in db":                {byLeaf, lists{db: cert(k.leaf)}, nil, ""},
		"who issued the signer in db": {byLeaf, lists{db: cert(k.middle)}, nil, ""},
		"root of the chain in db":     {byLeaf, lists{db: cert(k.other, k.root)}, nil, ""},
		"chain that lacks one": {sign(t, image, k.leaf), lists{db: cert(k.root)}, secureboot.ErrRefused,
			`not signed by a certificate in db, but by "leaf"`},
		"chain over what is no authority": {sign(t, image, k.belowNotCA, k.notCA), lists{db: cert(k.root)},
			secureboot.ErrRefused, "not signed"},
		"what is no authority in db": {sign(t, image, k.belowNotCA), lists{db: cert(k.notCA)},
			secureboot.ErrRefused, "not signed"},
		"of the name of the root in db, and not by it": {sign(t, image, k.impostor), lists{db: cert(k.root)},
			secureboot.ErrRefused, "not signed"},
		"another signer in db": {byLeaf, lists{db: cert(k.other)}, secureboot.ErrRefused,
			"not signed by a certificate in db"},
		"not signed": {bare, lists{db: cert(k.root)}, secureboot.ErrRefused,
			"not signed by a certificate in db"},
		"not signed, digest in db": {bare, lists{db: hash(bare)}, nil, ""},
		"digest of another program in db": {bare, lists{db: hash(read(t, changed))}, secureboot.ErrRefused,
			"not signed"},
		"digest in dbx": {byLeaf, lists{db: cert(k.root), dbx: hash(bare)},
			secureboot.ErrRefused, "its digest is in dbx"},
		"digest in db and dbx": {bare, lists{db: hash(bare), dbx: hash(bare)}, secureboot.ErrRefused,
			"its digest is in dbx"},
		"signer in dbx": {byLeaf, lists{db: cert(k.root), dbx: cert(k.leaf)},
			secureboot.ErrRefused, `certificate "leaf" is in dbx`},
		"who issued the signer in dbx": {byLeaf, lists{db: cert(k.leaf), dbx: cert(k.root)},
			secureboot.ErrRefused, `certificate "root" is in dbx`},
		"digest in db, signer in dbx": {byLeaf, lists{db: hash(bare), dbx: cert(k.leaf)},
			secureboot.ErrRefused, "is in dbx"},
		"digest of signer in dbx": {byLeaf, lists{db: cert(k.root), dbx: revoked(k.leaf, 0)},
			secureboot.ErrRefused, `digest of the certificate "leaf" is in dbx`},
		"digest of root in dbx": {byLeaf, lists{db: cert(k.root), dbx: revoked(k.root, 0)},
			secureboot.ErrRefused, `digest of the certificate "root" is in dbx`},
		"digest of another in dbx": {byLeaf, lists{db: cert(k.root), dbx: revoked(k.other, 0)}, nil, ""},
		"signer revoked from a time on": {byLeaf, lists{db: cert(k.root), dbx: revoked(k.leaf, 7)},
			secureboot.ErrRefused, "is in dbx"},
		"the same, where times may count": {byLeaf, lists{db: cert(k.root), dbx: revoked(k.leaf, 7),
			dbt: cert(k.other)}, secureboot.ErrUnknown, "after a certain time"},
		"list of signatures that is torn": {torn, lists{db: cert(k.root)}, secureboot.ErrRefused, "cannot be read"},
		"signature of an unknown kind": {unlike, lists{db: cert(k.root)}, secureboot.ErrUnknown,
			"not known here"},
		"the same, digest in dbx": {unlike, lists{db: cert(k.root), dbx: hash(bare)},
			secureboot.ErrRefused, "dbx"},
		"certificate in db of no known kind": {byLeaf, lists{db: {secureboot.Of(secureboot.TypeX509,
			[]byte("junk"))}}, secureboot.ErrUnknown, "db: a certificate that cannot be read"},
		"the same in dbx, signed": {byLeaf, lists{db: cert(k.root),
			dbx: {secureboot.Of(secureboot.TypeX509, []byte("junk"))}}, secureboot.ErrUnknown, "dbx: "},
		"the same in dbx, not signed": {bare, lists{db: cert(k.root), dbx: {secureboot.Of(secureboot.TypeX509,
			[]byte("junk"))}}, secureboot.ErrRefused, "not signed"},
		"key over an elliptic curve": {curve, lists{db: curveList}, secureboot.ErrUnknown,
			"of ECDSA, which not every firmware knows"},
		"the same, and another signature": {both, lists{db: append(cert(k.leaf), curveList...)}, nil, ""},
		"the same, not in db":             {curve, lists{db: cert(k.root)}, secureboot.ErrRefused, "not signed"},
		"the same, in dbx": {curve, lists{db: curveList, dbx: curveList}, secureboot.ErrRefused,
			"is in dbx"},
		"no db": {byLeaf, lists{}, secureboot.ErrUnknown, "db: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := secureboot.Read(variables(t, c.lists))
			err := f.Judge(c.program)
			require.ErrorIs(t, err, c.want)
			if c.want != nil {
				require.Contains(t, err.Error(), c.says)
			}
		})
	}
}

func TestModes(t *testing.T) {
	k := makeKeys(t)
	bare := read(t, loadertest.Loader("amd64"))
	broken := errors.New("input/output error")
	for name, c := range map[string]struct {
		change func(*efivar.Memory)
		want   error
		says   string
	}{
		"on": {func(*efivar.Memory) {}, secureboot.ErrRefused, "Secure Boot is on"},
		"not there": {func(v *efivar.Memory) { require.NoError(t, v.Delete(efivar.Global("SecureBoot"))) }, nil,
			"Secure Boot is off"},
		"off": {set(t, "SecureBoot", 0), nil, "Secure Boot is off"},
		"setup mode": {func(v *efivar.Memory) { set(t, "SecureBoot", 0)(v); set(t, "SetupMode", 1)(v) }, nil,
			"Secure Boot is off, in setup mode"},
		"odd": {set(t, "SecureBoot", 7), secureboot.ErrUnknown,
			"whether Secure Boot is on is not known (SecureBoot holds 07)"},
		"unreadable": {func(v *efivar.Memory) {
			v.Unreadable = map[efivar.Name]error{efivar.Global("SecureBoot"): broken}
		}, secureboot.ErrUnknown, "input/output error"},
		"db unread": {func(v *efivar.Memory) { v.Unreadable = map[efivar.Name]error{db: broken} },
			secureboot.ErrUnknown, "Secure Boot is on"},
		"dbx unread": {func(v *efivar.Memory) { v.Unreadable = map[efivar.Name]error{dbx: broken} },
			secureboot.ErrRefused, "Secure Boot is on"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := variables(t, lists{db: cert(k.root)})
			c.change(vars)
			f := secureboot.Read(vars)
			require.ErrorIs(t, f.Judge(bare), c.want)
			require.Contains(t, f.String(), c.says)
			require.Equal(t, c.want != nil, f.Checks())
		})
	}
	vars := variables(t, lists{db: hash(bare)})
	set(t, "SecureBoot", 7)(vars)
	require.NoError(t, secureboot.Read(vars).Judge(bare), "accepted whether it is on or not")
}

func set(t *testing.T, name string, value byte) func(*efivar.Memory) {
	return func(v *efivar.Memory) {
		require.NoError(t, v.Write(efivar.Global(name), efivar.Variable{
			Attributes: efivar.BootService | efivar.Runtime, Data: []byte{value}}))
	}
}
