package secureboot_test

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// vendorOf is a section .vendor_cert.
func vendorOf(may, not []byte) []byte {
	b := make([]byte, 16)
	le := binary.LittleEndian
	le.PutUint32(b, uint32(len(may)))
	le.PutUint32(b[4:], uint32(len(not)))
	le.PutUint32(b[8:], 16)
	le.PutUint32(b[12:], uint32(16+len(may)))
	return append(append(b, may...), not...)
}

const (
	ownLevels = "sbat,1,SBAT Version,sbat,1,x\nshim,4,x\n"
	sdLevels  = "sbat,1,SBAT Version,sbat,1,x\nsystemd,2,x\nsystemd.debian,1,x\n"
)

func TestWhatAShimStarts(t *testing.T) {
	k := makeKeys(t)
	forModules, err := k.root.Issue("modules", func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 2312, 16, 1, 2}}
	})
	require.NoError(t, err)
	image := loadertest.Loader("amd64")
	bare := read(t, image)
	byOther, byRoot, byLeaf := sign(t, image, k.other), sign(t, image, k.root), sign(t, image, k.leaf, k.middle)
	mok, mokx := secureboot.Mok("MokListRT"), secureboot.Mok("MokListXRT")
	encode := func(l []secureboot.List) []byte {
		b, err := secureboot.Encode(l...)
		require.NoError(t, err)
		return b
	}
	byte1 := func(v *efivar.Memory, name string) {
		require.NoError(t, v.Write(secureboot.Mok(name), efivar.Variable{Attributes: 6, Data: []byte{1}}))
	}
	vendor := vendorOf(k.other.Certificate.Raw, nil)
	told := lists{db: cert(k.root), mok: cert(k.middle)}
	with := func(more lists) lists {
		all := lists{}
		for _, l := range []lists{told, more} {
			for n, v := range l {
				all[n] = v
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		program authenticode.Signed
		vendor  []byte
		lists   lists
		revokes string // SbatLevelRT; "" is sbat,1; "none" is not there
		levels  string // of the loader; "none": it has none
		change  func(*efivar.Memory)
		loader  error
		system  error
		says    string
	}{
		"by db":                        {program: byRoot, lists: told},
		"by MokList":                   {program: sign(t, image, k.middle), lists: with(lists{db: cert(k.other)})},
		"issued by what is in MokList": {program: byLeaf, lists: with(lists{db: cert(k.other)})},
		"by the vendor's certificate":  {program: byOther, vendor: vendor, lists: told},
		"by the vendor's lists": {program: byOther, vendor: vendorOf(encode(cert(k.root, k.other)), nil),
			lists: told},
		"digest in MokList": {program: bare, lists: with(lists{mok: hash(bare)})},
		"by nobody who may": {program: byOther, lists: told, loader: secureboot.ErrRefused,
			system: secureboot.ErrRefused,
			says:   `not signed by a certificate in db, MokList or the shim, but by "other"`},
		"not signed": {program: bare, vendor: vendor, lists: told, loader: secureboot.ErrRefused,
			system: secureboot.ErrRefused, says: "not signed by a certificate in db, MokList or the shim"},
		"digest in MokListX": {program: byRoot, lists: with(lists{mokx: hash(bare), db: cert(k.middle)}),
			loader: secureboot.ErrRefused, system: secureboot.ErrRefused, says: "dbx, MokListX or the shim"},
		"the same, and db": {program: byRoot, lists: with(lists{mokx: hash(bare)}), loader: secureboot.ErrRefused},
		"revoked by the vendor": {program: byOther, vendor: vendorOf(k.other.Certificate.Raw, encode(cert(k.other))),
			lists: told, loader: secureboot.ErrRefused, system: secureboot.ErrRefused, says: `"other" is in dbx`},
		"a key for modules in MokList": {program: sign(t, image, forModules), loader: secureboot.ErrRefused,
			system: secureboot.ErrRefused, lists: lists{db: cert(k.middle), mok: cert(forModules)}},
		"not through a shim yet": {program: byOther, lists: lists{db: cert(k.root)}, loader: secureboot.ErrUnknown,
			system: secureboot.ErrUnknown, says: "MokList is not known"},
		"not through a shim yet, by db": {program: byRoot, lists: lists{db: cert(k.root)}},
		"vendor that cannot be read": {program: byOther, vendor: []byte("junk"), lists: told,
			loader: secureboot.ErrUnknown,
			system: secureboot.ErrUnknown, says: ".vendor_cert of 4 bytes"},
		"vendor outside of the section": {program: byOther, vendor: vendor[:40], lists: told,
			loader: secureboot.ErrUnknown,
			system: secureboot.ErrUnknown, says: ".vendor_cert of 40 bytes"},
		"checks are switched off": {program: bare, lists: told, change: func(v *efivar.Memory) {
			byte1(v, "MokSBStateRT")
		}},
		"db does not count": {program: byRoot, lists: told, change: func(v *efivar.Memory) { byte1(v, "MokIgnoreDB") },
			loader: secureboot.ErrRefused},
		"no SBAT": {program: byRoot, lists: told, levels: "none", loader: secureboot.ErrRefused, says: "no SBAT"},
		"SBAT revoked": {program: byOther, vendor: vendor, lists: told, revokes: "sbat,1,2024010900\nsystemd,3\n",
			loader: secureboot.ErrRefused, system: secureboot.ErrRefused,
			says: `"systemd" in generation 2, and those below 3`},
		"SBAT of a distribution revoked": {program: byOther, vendor: vendor, lists: told,
			revokes: "sbat,1\nsystemd.debian,2\n",
			loader:  secureboot.ErrRefused, system: secureboot.ErrRefused, says: `"systemd.debian"`},
		"SBAT of another": {program: byOther, vendor: vendor, lists: told, revokes: "sbat,1\ngrub,9\nsystemd,2\n"},
		"SBAT of the shim": {program: byRoot, lists: told, revokes: "sbat,1\nshim,5\n",
			loader: secureboot.ErrRefused, says: "the shim"},
		"SBAT's levels unread": {program: byOther, vendor: vendor, lists: told, revokes: "none",
			loader: secureboot.ErrUnknown, system: secureboot.ErrUnknown, says: "SBAT"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := variables(t, c.lists)
			if c.revokes != "none" {
				text := c.revokes
				if text == "" {
					text = "sbat,1,2021030218\n"
				}
				require.NoError(t, vars.Write(secureboot.Mok("SbatLevelRT"), efivar.Variable{Attributes: 6,
					Data: []byte(text)}))
			}
			if c.change != nil {
				c.change(vars)
			}
			shim := secureboot.Read(vars).Shim(c.vendor, []byte(ownLevels))
			var levels []byte
			if c.levels != "none" {
				levels = []byte(sdLevels)
			}
			program := c.program
			loader, system := shim.Loader(program, levels), shim.System(program, levels)
			require.ErrorIs(t, loader, c.loader)
			require.ErrorIs(t, system, c.system)
			if c.loader != nil {
				require.Contains(t, loader.Error(), c.says)
			}
		})
	}
}

// A long MokList lies in several variables.
func TestMokListInParts(t *testing.T) {
	k := makeKeys(t)
	vars := variables(t, lists{db: cert(k.other), secureboot.Mok("MokListRT"): cert(k.other),
		secureboot.Mok("MokListRT1"): cert(k.middle), secureboot.Mok("MokListRT2"): cert(k.root)})
	require.NoError(t, vars.Write(secureboot.Mok("SbatLevelRT"), efivar.Variable{Attributes: 6,
		Data: []byte("sbat,1\n")}))
	shim := secureboot.Read(vars).Shim(nil, []byte(ownLevels))
	require.NoError(t, shim.Loader(sign(t, loadertest.Loader("amd64"), k.root), []byte(sdLevels)))
}

// A shim without SBAT asks nobody for it.
func TestShimFromBeforeSBAT(t *testing.T) {
	k := makeKeys(t)
	vars := variables(t, lists{db: cert(k.root), secureboot.Mok("MokListRT"): cert(k.other)})
	shim := secureboot.Read(vars).Shim(nil, nil)
	require.NoError(t, shim.Loader(sign(t, loadertest.Loader("amd64"), k.root), nil))
}
