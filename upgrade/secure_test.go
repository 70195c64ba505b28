package upgrade_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// trusts switches Secure Boot on, with these programs and keys in db.
func (r *rig) trusts(programs [][]byte, keys ...loadertest.Key) {
	r.t.Helper()
	r.secure(1)
	r.list("db", programs, keys)
}

// forbids puts them into dbx.
func (r *rig) forbids(programs [][]byte, keys ...loadertest.Key) {
	r.t.Helper()
	r.list("dbx", programs, keys)
}

func (r *rig) list(name string, programs [][]byte, keys []loadertest.Key) {
	r.t.Helper()
	var lists []secureboot.List
	for _, p := range programs {
		s, err := authenticode.Read(p)
		require.NoError(r.t, err)
		lists = append(lists, secureboot.Of(secureboot.TypeSHA256, s.Digest[:]))
	}
	for _, k := range keys {
		lists = append(lists, secureboot.Of(secureboot.TypeX509, k.Certificate.Raw))
	}
	data, err := secureboot.Encode(lists...)
	require.NoError(r.t, err)
	r.set(secureboot.Database(name), data)
}

func (r *rig) file(path string) []byte {
	r.t.Helper()
	data, err := r.bootFiles().ReadFile(path)
	require.NoError(r.t, err)
	return data
}

func newKey(t *testing.T, name string) loadertest.Key {
	t.Helper()
	k, err := loadertest.NewKey(name)
	require.NoError(t, err)
	return k
}

// signed is an image whose system k has signed.
func (r *rig) signed(version string, k loadertest.Key) *image.Image {
	r.t.Helper()
	return r.made(version, virtual.Spec{Size: 10_000, Sign: k.Sign})
}

// A machine with Secure Boot on is upgraded, by its own key, and nothing of it is taken for granted. What its firmware
// would not start is refused before it is armed, with the reason: what is not signed while the target is still whole.
func TestUpgradeUnderSecureBoot(t *testing.T) {
	ours, others := newKey(t, "ours"), newKey(t, "others")
	for name, c := range map[string]struct {
		image func(*rig) *image.Image
		dbx   func(*rig)
		says  string // "": it boots
		kept  bool   // what the target held is still there
	}{
		"signed by our key": {image: func(r *rig) *image.Image { return r.signed("3.0.0", ours) }},
		"not signed": {image: func(r *rig) *image.Image { return r.image("3.0.0") }, kept: true,
			says: "its UKI: refused by Secure Boot: not signed by a certificate in db"},
		"signed by another key": {image: func(r *rig) *image.Image { return r.signed("3.0.0", others) },
			says: `refused by Secure Boot: not signed by a certificate in db, but by "others"`},
		"its signer is revoked": {image: func(r *rig) *image.Image { return r.signed("3.0.0", others) },
			dbx: func(r *rig) { r.forbids(nil, others) }, says: `the certificate "others" is in dbx`},
	} {
		t.Run(name, func(t *testing.T) {
			r := secured(t, ours)
			if c.dbx != nil {
				c.dbx(r)
			}
			img := c.image(r)
			a, err := r.Upgrade(t.Context(), img, upgrade.Options{})
			if c.says == "" {
				require.NoError(t, err)
				r.boots(bootloader.A, "3.0.0")
				r.confirm()
				r.boots(bootloader.A, "3.0.0")
				require.Empty(t, r.diagnose().Assumes)
				return
			}
			require.ErrorContains(t, err, c.says)
			require.Equal(t, bootloader.None, r.status().Loader.Armed)
			held := r.status().Slots[0].Manifest.Version
			require.Equal(t, c.kept, held == "1.0.0", "slot A holds %s", held)
			r.boots(bootloader.B, "2.0.0")

			a, err = r.Upgrade(t.Context(), img, upgrade.Options{Force: true})
			require.NoError(t, err)
			require.Contains(t, a.Foreseen, "refused by Secure Boot")
			b := r.boots(bootloader.B, "2.0.0")
			require.True(t, b.Ended)
			require.Equal(t, attempt.FellBack, b.Attempt.Result)
			require.Contains(t, b.Attempt.Reason, attempt.NotKnown+"; it was forced, and foreseen: ")
			require.Contains(t, b.Attempt.Reason, "refused by Secure Boot")
			require.Empty(t, r.status().KnownBad, "no evidence against the image")
		})
	}
}

// secured is a machine with version 2.0.0 in slot B, whose firmware trusts a key and has started all by it.
func secured(t *testing.T, key loadertest.Key) *rig {
	r := start(t)
	loader, err := key.Sign(r.installed())
	require.NoError(t, err)
	r.movedTo(bootloader.B, r.made("2.0.0", virtual.Spec{Size: 10_000, Sign: key.Sign, Own: loader}))
	r.put("EFI/BOOT/BOOTX64.EFI", loader)
	r.trusts(nil, key)
	r.boots(bootloader.B, "2.0.0")
	require.Empty(t, r.diagnose().Assumes)
	return r
}

// A plan says what of the machine's start is taken to be signed because nothing is known of it.
func TestPlanSaysWhatItTakesToBeSigned(t *testing.T) {
	r := start(t)
	r.secure(1)
	m, err := r.Open()
	require.NoError(t, err)
	plan, err := m.Plan(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	require.Contains(t, plan.Warnings[0], "its signature is taken to be good: EFI/BOOT/BOOTX64.EFI: whether Secure "+
		"Boot accepts it is not known: db: ")
}

// A loader is installed where the firmware's own lists accept it, whoever signed the one before, and left where they do
// not.
func TestLoaderByTheFirmwaresLists(t *testing.T) {
	ours, next, others := newKey(t, "ours"), newKey(t, "next"), newKey(t, "others")
	for name, c := range map[string]struct {
		by   loadertest.Key
		dbx  []loadertest.Key
		says string
	}{
		"by another key in db": {next, nil, ""},
		"by a key that is not": {others, nil,
			`refused by Secure Boot: not signed by a certificate in db, but by "others"`},
		"by a key that is no more": {ours, []loadertest.Key{ours}, `the certificate "ours" is in dbx`},
	} {
		t.Run(name, func(t *testing.T) {
			r := secured(t, ours)
			own, err := c.by.Sign(loadertest.LoaderOf("amd64", "253"))
			require.NoError(t, err)
			r.movedTo(bootloader.A, r.made("3.0.0", virtual.Spec{Size: 10_000, Sign: ours.Sign, Own: own}))
			r.trusts(nil, ours, next)
			r.forbids(nil, append(c.dbx, newKey(t, "anyone"))...)
			left := r.status().Own.Left
			if c.says == "" {
				require.NoError(t, left)
				return
			}
			require.ErrorIs(t, left, bootloader.ErrForbidden)
			require.ErrorContains(t, left, c.says)
			before := r.installed()
			_, err = r.replace(upgrade.LoaderOptions{Force: true})
			require.ErrorIs(t, err, bootloader.ErrForbidden, "force does not help")
			require.Equal(t, before, r.installed())
		})
	}
}

// A new disk is not made with what the firmware of this machine does not start, but by force.
func TestInstallUnderSecureBoot(t *testing.T) {
	ours, others := newKey(t, "ours"), newKey(t, "others")
	loader := loadertest.LoaderOf("amd64", "253")
	own := func(k loadertest.Key) []byte {
		signed, err := k.Sign(loader)
		require.NoError(t, err)
		return signed
	}
	for name, c := range map[string]struct {
		spec    virtual.Spec
		says    string // "": it is installed
		written bool
	}{
		"all by our key":            {virtual.Spec{Sign: ours.Sign, Own: own(ours)}, "", true},
		"loader that is not signed": {virtual.Spec{Sign: ours.Sign, Own: loader}, "its loader: refused by Secure Boot", true},
		"loader by another key":     {virtual.Spec{Sign: ours.Sign, Own: own(others)}, "its loader: refused by Secure Boot", true},
		"system by another key":     {virtual.Spec{Sign: others.Sign, Own: own(ours)}, "its UKI: refused by Secure Boot", true},
		"system that is not signed": {virtual.Spec{Own: own(ours)}, "its UKI: refused by Secure Boot", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.Vars = efivar.NewMemory()
			r.trusts(nil, ours)
			backend, err := loaders.Named(loaders.SystemdBoot)
			require.NoError(t, err)
			img := r.made("1.0.0", c.spec)
			o := upgrade.InstallOptions{Loader: backend, Partitions: virtual.Partitions(), Seed: "virtual",
				Now: virtual.Now, Vars: r.Vars}
			disk := disktest.New(virtual.Size, 512)
			err = upgrade.Install(t.Context(), disk, img, o)
			_, table := partition.Read(disk)
			require.Equal(t, c.written, table == nil)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, upgrade.ErrUnfit)
			require.ErrorContains(t, err, c.says)
			if c.written {
				other := &rig{Machine: &virtual.Machine{Disk: disk}, t: t}
				_, err = other.bootFiles().Stat("EFI/BOOT/BOOTX64.EFI")
				require.ErrorIs(t, err, fs.ErrNotExist, "nothing lies where firmware looks")
			}
			o.Force = true
			require.NoError(t, upgrade.Install(t.Context(), disk, img, o))
		})
	}
}
