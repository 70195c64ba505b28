package predict_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// list is an EFI_SIGNATURE_LIST with one entry; its type is as firmware has it.
func list(kind string, data []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte(kind), make([]byte, 12)...)
	le.PutUint32(b[16:], uint32(28+16+len(data)))
	le.PutUint32(b[24:], uint32(16+len(data)))
	return append(append(b, make([]byte, 16)...), data...)
}

const (
	certificates = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"
	digests      = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"
)

func TestSecureBoot(t *testing.T) {
	key, err := loadertest.NewKey("vendor")
	require.NoError(t, err)
	other, err := loadertest.NewKey("somebody else")
	require.NoError(t, err)
	sign := func(k loadertest.Key, image []byte) string {
		signed, err := k.Sign(image)
		require.NoError(t, err)
		return string(signed)
	}
	one := loadertest.Kernel("amd64", []byte("one"))
	loader := loadertest.Loader("amd64")
	digest := func(image []byte) []byte {
		s, err := authenticode.Read(image)
		require.NoError(t, err)
		return s.Digest[:]
	}
	all := map[string]string{"EFI/BOOT/BOOTX64.EFI": sign(key, loader), "EFI/pawl/A/os.efi": sign(key, one)}
	for name, c := range map[string]struct {
		change map[string]string
		db     []byte
		dbx    []byte
		stuck  string // "": slot A
	}{
		"all signed": {nil, list(certificates, key.Certificate.Raw), nil, ""},
		"the loader is not": {map[string]string{"EFI/BOOT/BOOTX64.EFI": string(loader)},
			list(certificates, key.Certificate.Raw), nil, "the firmware"},
		"the loader by somebody else": {map[string]string{"EFI/BOOT/BOOTX64.EFI": sign(other, loader)},
			list(certificates, key.Certificate.Raw), nil, "the firmware"},
		"the system is not": {map[string]string{"EFI/pawl/A/os.efi": string(one)},
			list(certificates, key.Certificate.Raw), nil, "the firmware"},
		"by one of two who may": {nil, append(list(certificates, other.Certificate.Raw),
			list(certificates, key.Certificate.Raw)...), nil, ""},
		"not signed, but known by digest": {map[string]string{"EFI/pawl/A/os.efi": string(one)},
			append(list(certificates, key.Certificate.Raw), list(digests, digest(one))...), nil, ""},
		"signed, but forbidden": {nil, list(certificates, key.Certificate.Raw), list(digests, digest(one)),
			"the firmware"},
		"its signer is forbidden": {nil, list(certificates, key.Certificate.Raw),
			list(certificates, key.Certificate.Raw), "the firmware"},
		"who may is not known":   {map[string]string{"EFI/pawl/A/os.efi": string(one)}, nil, nil, ""},
		"who may cannot be read": {map[string]string{"EFI/pawl/A/os.efi": string(one)}, []byte("junk"), nil, ""},
		"behind a shim that the firmware knows": {map[string]string{
			"EFI/BOOT/BOOTX64.EFI": sign(key, loadertest.Shim("amd64")), "EFI/BOOT/grubx64.efi": sign(other, loader),
			"EFI/pawl/A/os.efi": string(one),
		}, list(certificates, key.Certificate.Raw), nil, ""},
		"behind a shim that it does not know": {map[string]string{
			"EFI/BOOT/BOOTX64.EFI": string(loadertest.Shim("amd64")), "EFI/BOOT/grubx64.efi": sign(key, loader)},
			list(certificates, key.Certificate.Raw), nil, "the firmware"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(all)
			maps.Copy(files, c.change)
			m := disk(t, base(nil))
			f, err := m.FS()
			require.NoError(t, err)
			for path, data := range files {
				require.NoError(t, f.WriteFile(path, []byte(data)))
			}
			require.NoError(t, m.Vars.Write(efivar.Global("SecureBoot"), efivar.Variable{Attributes: 6,
				Data: []byte{1}}))
			for list, data := range map[string][]byte{"db": c.db, "dbx": c.dbx} {
				if data != nil {
					require.NoError(t, m.Vars.Write(secureboot.Database(list), efivar.Variable{Attributes: efivar.Kept,
						Data: data}))
				}
			}
			for range 2 { // the switch stays
				o, err := m.Boot()
				require.NoError(t, err)
				if c.stuck != "" {
					require.Contains(t, o.Stuck, c.stuck, "%v", o.Log)
					continue
				}
				require.Equal(t, bootloader.A, o.Slot, "%s %v", o, o.Log)
			}
		})
	}
}

// A shim starts the loader beside it: no reason to put anything else in its place.
func TestShim(t *testing.T) {
	files := base(map[string]string{"EFI/BOOT/grubx64.efi": string(loadertest.Loader("amd64"))})
	m := disk(t, files)
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Shim("amd64")))
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "%v", o.Log)
	order, err := predict.Order(m.Disk, m.Vars, m.Options)
	require.NoError(t, err)
	require.Equal(t, 1, predict.Starts(order), "%v", order)

	require.NoError(t, f.WriteFile("EFI/BOOT/fbx64.efi", loadertest.Kernel("amd64", nil)))
	_, err = m.Boot()
	require.ErrorIs(t, err, predict.ErrNotModelled)
	require.NoError(t, f.Remove("EFI/BOOT/fbx64.efi"))
	require.NoError(t, f.WriteFile("EFI/BOOT/grubx64.efi", loadertest.Shim("amd64")))
	_, err = m.Boot()
	require.ErrorIs(t, err, predict.ErrNotModelled)
	require.NoError(t, f.Remove("EFI/BOOT/grubx64.efi"))
	o, err = m.Boot()
	require.NoError(t, err)
	require.NotEmpty(t, o.Stuck)
}

func TestProgramsForOtherMachinesAreRefused(t *testing.T) {
	m := disk(t, base(nil))
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Loader("arm64")))
	boots := next(t, m, 1)
	require.NotEmpty(t, boots[0].Stuck)
	require.Contains(t, told(boots), "refused: it is for another kind of machine")
}

// A firmware can refuse what nothing in the file tells.
func TestFirmwareThatRefuses(t *testing.T) {
	m := disk(t, base(nil))
	sum := sha256.Sum256(loadertest.Loader("amd64"))
	m.Options.Refuses = hex.EncodeToString(sum[:])
	o, err := m.Boot()
	require.NoError(t, err)
	require.NotEmpty(t, o.Stuck)
}

// A loader that would enroll keys says so: afterwards a firmware checks that did not.
func TestKeysThatAreEnrolled(t *testing.T) {
	const conf = "default pawl-a.conf\ntimeout 0\nsecure-boot-enroll force\n"
	for name, c := range map[string]struct {
		conf, keys string
		setup      byte
		told       int
	}{
		"in setup mode":        {conf, "loader/keys/auto/PK.auth", 1, 1},
		"in user mode":         {conf, "loader/keys/auto/PK.auth", 0, 0},
		"no keys":              {conf, "loader/keys/other/PK.auth", 1, 0},
		"and it is not to ask": {"default pawl-a.conf\ntimeout 0\n", "loader/keys/auto/PK.auth", 1, 0},
	} {
		m := disk(t, base(map[string]string{"loader/loader.conf": c.conf}))
		f, err := m.FS()
		require.NoError(t, err)
		require.NoError(t, f.Mkdir(path.Dir(c.keys)))
		require.NoError(t, f.WriteFile(c.keys, []byte("keys")))
		require.NoError(t, m.Vars.Write(efivar.Global("SetupMode"), efivar.Variable{Attributes: 6, Data: []byte{c.setup}}))
		o, err := m.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.A, o.Slot, "%s: %v", name, o.Log)
		require.Len(t, o.Unsure, c.told, "%s: %v", name, o.Unsure)
	}
}
