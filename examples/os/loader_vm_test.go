//go:build vm

package exampleos_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// TestLoaderIsReplaced confirms a version that brings another loader. The next restart goes through its own copy, the
// loader is installed then and starts the machine; and where it is destroyed or gone, firmware goes on to the copy in
// the slot, and the running system puts it back.
func TestLoaderIsReplaced(t *testing.T) {
	const loader = "EFI/BOOT/BOOTX64.EFI"
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	require.Equal(t, `\EFI\BOOT\BOOTX64.EFI`, m.startedBy())
	m.upgrade("2.1.0-loader")
	m.restart()
	m.trial("2.1.0-loader", "B")
	m.ready("2.1.0-loader", "B")
	require.Contains(t, m.do("run installer status"), "the next start through the firmware goes through it")
	m.cut(func() {})
	m.ready("2.1.0-loader", "B")
	require.Equal(t, `\EFI\pawl\B\loader.efi`, m.startedBy(), "it starts the machine once before it is installed")
	require.NotContains(t, m.do("run installer status"), "warning")

	var own []byte
	whole := func(boot *bootfs.FS) {
		var err error
		own, err = boot.ReadFile(bootloader.B.File(bootloader.LoaderFile))
		require.NoError(t, err)
		require.True(t, bytes.Contains(own, []byte("~deb12u9 ####")))
		installed, err := boot.ReadFile(loader)
		require.NoError(t, err)
		require.True(t, bytes.Equal(own, installed), "the loader is that of the confirmed version")
	}
	m.cut(func() { m.onBootFS(whole) })
	m.ready("2.1.0-loader", "B")
	require.Equal(t, `\EFI\BOOT\BOOTX64.EFI`, m.startedBy(), "the new loader starts the machine")

	m.cut(func() {
		m.onBootFS(func(boot *bootfs.FS) {
			require.NoError(t, boot.WriteFile(loader, bytes.Repeat([]byte{0xa5}, len(own))))
		})
	})
	m.ready("2.1.0-loader", "B")
	require.Equal(t, `\EFI\pawl\B\loader.efi`, m.startedBy(), "firmware passes over what is no image")
	m.cut(func() {
		m.onBootFS(func(boot *bootfs.FS) {
			whole(boot)
			require.NoError(t, boot.Remove(loader))
		})
	})
	m.ready("2.1.0-loader", "B")
	require.Equal(t, `\EFI\pawl\B\loader.efi`, m.startedBy(), "firmware passes over what is not there")
	require.NoError(t, m.vm.Kill())
	m.onBootFS(whole)
}

// startedBy is the loader that firmware started in this boot, as the loader says.
func (m *machine) startedBy() string {
	m.Helper()
	out := m.do("cat " + efivar.Dir + "/" + efivar.Loader("LoaderImageIdentifier").String())
	data, err := hex.DecodeString(strings.TrimSpace(out))
	require.NoError(m, err, out)
	v, err := efivar.ParseVariable(data)
	require.NoError(m, err)
	path, err := efivar.DecodeString(v.Data)
	require.NoError(m, err)
	return path
}
