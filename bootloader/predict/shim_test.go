package predict_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// Behind a shim the loader and the systems are held against what the shim knows.
func TestSecureBootBehindAShim(t *testing.T) {
	vendor, owner, other := must(loadertest.NewKey("vendor")), must(loadertest.NewKey("owner")),
		must(loadertest.NewKey("somebody else"))
	kernel, loader := loadertest.Kernel("amd64", []byte("one")), loadertest.Loader("amd64")
	sign := func(k loadertest.Key, image []byte) []byte { return must(k.Sign(image)) }
	for name, c := range map[string]struct {
		loader, system []byte
		levels         string // revoked
		untold         bool   // this boot did not come through a shim
		stuck          string // "": slot A
		unsure         int
	}{
		"by the vendor":        {loader: sign(vendor, loader), system: sign(vendor, kernel)},
		"by who is in MokList": {loader: sign(vendor, loader), system: sign(owner, kernel)},
		"loader by somebody else": {loader: sign(other, loader), system: kernel,
			stuck: "the shim shows that it does not start EFI/BOOT/grubx64.efi"},
		"loader that is not signed": {loader: loader, system: kernel,
			stuck: "not signed by a certificate in db, MokList or the shim"},
		"system by somebody else": {loader: sign(vendor, loader), system: sign(other, kernel),
			stuck: "the firmware ends in its shell"},
		"system that is not signed": {loader: sign(vendor, loader), system: kernel,
			stuck: "the firmware ends in its shell"},
		"loader that is revoked": {loader: sign(vendor, loader), system: sign(vendor, kernel),
			levels: "systemd,2\n", stuck: "those below 2 are revoked"},
		"MokList is not known, and does not matter": {loader: sign(vendor, loader), system: sign(vendor, kernel),
			untold: true, unsure: 1},
		"MokList is not known": {loader: sign(vendor, loader), system: sign(owner, kernel),
			untold: true, unsure: 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := disk(t, base(nil))
			f, err := m.FS()
			require.NoError(t, err)
			for path, data := range map[string][]byte{"EFI/BOOT/grubx64.efi": c.loader, "EFI/pawl/A/os.efi": c.system,
				"EFI/BOOT/BOOTX64.EFI": sign(other, loadertest.ShimOf("amd64", vendor.Certificate.Raw))} {
				require.NoError(t, f.WriteFile(path, data))
			}
			put := func(n efivar.Name, attributes uint32, data []byte) {
				require.NoError(t, m.Vars.Write(n, efivar.Variable{Attributes: attributes, Data: data}))
			}
			put(efivar.Global("SecureBoot"), 6, []byte{1})
			// Who signed the shim is known by its digest, so that the shim alone knows the others.
			put(secureboot.Database("db"), efivar.Kept, list(digests, digestOf(t,
				loadertest.ShimOf("amd64", vendor.Certificate.Raw))))
			if !c.untold {
				put(secureboot.Mok("MokListRT"), 6, list(certificates, owner.Certificate.Raw))
				put(secureboot.Mok("SbatLevelRT"), 6, []byte("sbat,1,2021030218\n"+c.levels))
			}
			for range 2 { // what a shim says stays
				o, err := m.Boot()
				require.NoError(t, err)
				require.Len(t, o.Unsure, c.unsure, "%v", o.Unsure)
				if c.stuck != "" {
					require.Contains(t, o.Stuck, c.stuck)
					continue
				}
				require.Equal(t, bootloader.A, o.Slot, "%s %v", o, o.Log)
			}
		})
	}
}

// GRUB asks the shim that started it; what it does without one is not known.
func TestSecureBootWithGRUB(t *testing.T) {
	m := disk(t, nil)
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("grub"))
	loader, kernel := loadertest.GRUBEFI(), loadertest.LinuxImage([]byte("kernel"))
	for path, data := range map[string][]byte{"EFI/BOOT/BOOTX64.EFI": loader, "EFI/pawl/A/vmlinuz": kernel,
		"EFI/pawl/A/initrd": []byte("070701"),
		"grub/grub.cfg":     []byte("linux /EFI/pawl/A/vmlinuz panic=1\ninitrd /EFI/pawl/A/initrd\nboot\n")} {
		require.NoError(t, f.WriteFile(path, data))
	}
	require.NoError(t, m.Vars.Write(efivar.Global("SecureBoot"), efivar.Variable{Attributes: 6, Data: []byte{1}}))
	db := append(list(digests, digestOf(t, loader)), list(digests, digestOf(t, loadertest.Shim("amd64")))...)
	require.NoError(t, m.Vars.Write(secureboot.Database("db"), efivar.Variable{Attributes: efivar.Kept, Data: db}))
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "%v", o)
	require.Contains(t, o.Unsure,
		"slot A's vmlinuz: Secure Boot is on, and GRUB was not started through a shim, which it asks")
	for path, data := range map[string][]byte{"EFI/BOOT/grubx64.efi": loader,
		"EFI/BOOT/BOOTX64.EFI": loadertest.Shim("amd64")} {
		require.NoError(t, f.WriteFile(path, data))
	}
	require.NoError(t, m.Vars.Write(secureboot.Mok("MokListRT"), efivar.Variable{Attributes: 6,
		Data: list(digests, make([]byte, 32))}))
	require.NoError(t, m.Vars.Write(secureboot.Mok("SbatLevelRT"), efivar.Variable{Attributes: 6,
		Data: []byte("sbat,1\n")}))
	o, err = m.Boot()
	require.NoError(t, err)
	require.NotEqual(t, bootloader.A, o.Slot, "its kernel is not signed")
	db = append(db, list(digests, digestOf(t, kernel))...)
	require.NoError(t, m.Vars.Write(secureboot.Database("db"), efivar.Variable{Attributes: efivar.Kept, Data: db}))
	o, err = m.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "%v", o)
	require.Empty(t, o.Unsure)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func digestOf(t *testing.T, image []byte) []byte {
	t.Helper()
	s, err := authenticode.Read(image)
	require.NoError(t, err)
	return s.Digest[:]
}
