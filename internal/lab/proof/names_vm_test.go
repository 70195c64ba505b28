//go:build vm

package proof

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// Names, patterns and keys as others write them: what the model makes of them, systemd-boot does. The machine has both
// versions; 1.1.1 in slot B is the default, and sorts first.
func TestTheModelAgreesOnNames(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	require.NoError(t, m.moveTo(bootloader.B, "1.1.1"))
	const a, b = "1.1.0", "1.1.1"
	variable := func(name string, data []byte) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) {
			require.NoError(t, m.vars.Write(efivar.Loader(name), efivar.Variable{Attributes: efivar.Kept, Data: data}))
		}
	}
	text := func(name, value string) func(*testing.T, *machine) { return variable(name, efivar.EncodeString(value)) }
	units := func(value string) []byte { return efivar.EncodeString(value)[:2*len(value)] } // without a NUL
	file := func(path, content string) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) {
			f, err := m.fs()
			require.NoError(t, err)
			for at, c := range path {
				if _, err := f.Stat(path[:at]); c == '/' && err != nil {
					require.NoError(t, f.Mkdir(path[:at]))
				}
			}
			require.NoError(t, f.WriteFile(path, []byte(content)))
		}
	}
	conf := func(content string) func(*testing.T, *machine) { return file("loader/loader.conf", content) }
	entry := func(line string) func(*testing.T, *machine) {
		return file("loader/entries/pawl-b.conf", "sort-key 0\nefi /EFI/pawl/B/os.efi\n"+line+"\n")
	}
	for i, c := range []struct {
		name string
		do   []func(*testing.T, *machine)
		what string // the version that boots
	}{
		{"as it is", nil, b},
		{"a class with a range", []func(*testing.T, *machine){text("LoaderEntryOneShot", "pawl-[!-a].conf")}, a},
		{"a class that begins with its end", []func(*testing.T, *machine){text("LoaderEntryDefault", "PAWL-[]a].conf")}, a},
		{"a class that is not closed", []func(*testing.T, *machine){text("LoaderEntryDefault", "pawl-[a")}, b},
		{"without a NUL", []func(*testing.T, *machine){variable("LoaderEntryOneShot", units("pawl-a.conf"))}, b},
		{"without a NUL, and longer", []func(*testing.T, *machine){variable("LoaderEntryDefault", units("pawl-a.conf\n"))}, a},
		{"the firmware's setup", []func(*testing.T, *machine){text("LoaderEntryOneShot", "auto-reboot-*")}, ""},
		{"the firmware's setup, which loader.conf hides", []func(*testing.T, *machine){
			text("LoaderEntryOneShot", "auto-reboot-*"), conf("auto-firmware no\ndefault pawl-a.conf\n")}, a},
		{"another system, which is none", []func(*testing.T, *machine){text("LoaderEntryDefault", "auto-windows"),
			file("EFI/Microsoft/Boot/bootmgfw.efi", "no program")}, ""},
		{"a pattern that the loader's own fit last", []func(*testing.T, *machine){conf("default *[-a]*\n")}, b},
		{"what was saved", []func(*testing.T, *machine){text("LoaderEntryLastBooted", "pawl-a*"), conf("default @SAVED\n")}, a},
		{"another special name", []func(*testing.T, *machine){conf("default pawl-a.conf\ndefault @other\n")}, a},
		{"in quotes", []func(*testing.T, *machine){conf("default \"pawl-a.conf\"\n")}, a},
		{"a time that is no number", []func(*testing.T, *machine){conf("timeout 0xffffffff\ndefault pawl-a.conf\n")}, a},
		{"for another machine", []func(*testing.T, *machine){entry("architecture aa64")}, a},
		{"for this one", []func(*testing.T, *machine){entry("architecture X64")}, b},
		{"a device tree", []func(*testing.T, *machine){entry("devicetree /x.dtb")}, ""},
		{"an initramfs beside a UKI", []func(*testing.T, *machine){entry("initrd /gone")}, b},
		{"a key of later releases", []func(*testing.T, *machine){entry("uki /EFI/pawl/A/os.efi")}, b},
	} {
		if sampled(i) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			m := m.clone()
			for _, do := range c.do {
				do(t, m)
			}
			bc := bootCase{name: c.name, times: 1, kit: kit, disk: m.disk.Clone(), vars: m.vars.Clone()}
			bc.model, err = predict.Boot(m.disk, m.vars, predict.Options{})
			require.NoError(t, err)
			if os.Getenv("PAWL_LOADERS") == "" { // other releases differ; what boots is their judge
				require.Equal(t, c.what, kit.Version(bc.model.Digest), "the model: %v", bc.model)
			}
			got, err := bc.boot(t.Context(), t.TempDir(), 6*time.Minute)
			require.NoError(t, err)
			require.Equal(t, bc.says(), got[0], "the model: %v", bc.model)
		})
	}
}
