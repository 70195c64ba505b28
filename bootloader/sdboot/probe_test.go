package sdboot_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

const thisVersion = "252.39-1~deb12u2"

// release is the loader of another version.
func release(version string) []byte {
	return bytes.Replace(loadertest.Loader("amd64"), []byte(thisVersion+" ####"),
		[]byte(version+" ####"+strings.Repeat("\x00", len(thisVersion)-len(version))), 1)
}

func TestVersionOfALoader(t *testing.T) {
	for image, want := range map[string]string{
		string(release(thisVersion)):                    thisVersion,
		string(release("258")):                          "258",
		string(loadertest.Kernel("amd64", []byte("x"))): "",
		"no image": "",
		strings.Replace(string(release("258")), "-boot", "-stub", 1): "",
	} {
		got, err := sdboot.Version(strings.NewReader(image), int64(len(image)))
		require.Equal(t, want, got)
		require.Equal(t, want == "", err != nil)
	}
}

func TestStateNamesTheLoader(t *testing.T) {
	r := installed(t)
	require.Equal(t, "systemd-boot "+thisVersion, state(t, r).Loader)
	require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", release("258")))
	require.Equal(t, "systemd-boot "+thisVersion+" (the next boot: 258)", state(t, r).Loader)
	r.Vars.Reset()
	require.Equal(t, "systemd-boot 258", state(t, r).Loader)
	require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", []byte("a shim")))
	require.Equal(t, "systemd-boot", state(t, r).Loader)
}

// What the next boot's loader does not offer is refused by name, before anything is prepared.
func TestLoadersThatOfferLess(t *testing.T) {
	bits := func(n byte, m byte) []byte { return []byte{n, m, 0, 0, 0, 0, 0, 0} }
	for name, c := range map[string]struct {
		version  string // installed
		features []byte // of the running one; nil when it does not say
		oneShot  string // why it is refused; "" when it is not
		bootNext string
	}{
		"all of it":               {thisVersion, bits(0xff, 7), "", ""},
		"it does not say":         {thisVersion, nil, "", ""},
		"no one-shot":             {thisVersion, bits(0xf7, 7), "LoaderEntryOneShot", ""},
		"no sort keys":            {thisVersion, bits(0xff, 6), "sort-key", "sort-key"},
		"replaced by an old one":  {"239", bits(0xff, 7), "LoaderEntryOneShot", "sort-key"},
		"replaced by a newer":     {"249", bits(0xff, 7), "sort-key", "sort-key"},
		"a version like no other": {"main", bits(0xff, 7), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := installed(t)
			require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", release(c.version)))
			key := efivar.Loader("LoaderFeatures")
			require.NoError(t, r.Vars.Delete(key))
			if c.features != nil {
				require.NoError(t, r.Vars.Write(key, efivar.Variable{Attributes: efivar.BootService | efivar.Runtime,
					Data: c.features}))
			}
			m := fill(t, r)
			for way, want := range map[sdboot.Way]string{sdboot.OneShot: c.oneShot, sdboot.BootNext: c.bootNext} {
				require.NoError(t, r.Bootloader.(*sdboot.Loader).TryBy(string(way)))
				require.NoError(t, r.Prepare(bootloader.B, m, 1))
				blocked, err := state(t, r).Blocked, r.Arm(bootloader.B, 1)
				if want == "" {
					require.NoError(t, blocked)
					require.NoError(t, err)
					require.NoError(t, r.Disarm())
					continue
				}
				require.ErrorContains(t, blocked, want)
				require.ErrorContains(t, err, want)
				require.True(t, errors.Is(err, errors.ErrUnsupported))
			}
		})
	}
}

// Releases that say that they count, and were seen not to.
func TestReleasesThatMiscount(t *testing.T) {
	for version, wrong := range map[string]bool{"257.13": false, "258": true, "258.3": true, "259~rc2": true, "260": false,
		"262.1-1": false, "main": false} {
		r := installed(t)
		require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", release(version)))
		require.NoError(t, state(t, r).Blocked)
		require.NoError(t, r.Bootloader.(*sdboot.Loader).TryBy(string(sdboot.Counting)))
		blocked := state(t, r).Blocked
		require.Equal(t, wrong, blocked != nil, "%s: %v", version, blocked)
		if wrong {
			require.ErrorContains(t, blocked, "tries are used up")
			require.ErrorIs(t, blocked, errors.ErrUnsupported)
		}
	}
}
