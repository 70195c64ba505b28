package predict_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
)

// grubDisk is a disk that a BIOS starts GRUB from, with a grub.cfg.
func grubDisk(t *testing.T, config string) *loadertest.Machine {
	t.Helper()
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	m.Options.BIOS = true
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("grub"))
	require.NoError(t, f.WriteFile("grub/grub.cfg", []byte(config)))
	require.NoError(t, f.WriteFile("vmlinuz", loadertest.LinuxImage([]byte("kernel"))))
	require.NoError(t, f.WriteFile("initrd", []byte("070701")))
	boot, core := loadertest.GRUBCore()
	boot[0x5c], boot[0x66], boot[0x67] = 64, 0x90, 0x90
	core[500], core[508] = 65, byte(len(core)/512-1)
	sector := make([]byte, 512)
	_, err = m.Disk.ReadAt(sector, 0)
	require.NoError(t, err)
	copy(sector, boot[:440])
	_, err = m.Disk.WriteAt(sector, 0)
	require.NoError(t, err)
	_, err = m.Disk.WriteAt(core, 64*512)
	require.NoError(t, err)
	return m
}

const bootsOne = "linux /vmlinuz panic=1 'a b' x=\\'y\ninitrd ($root)/initrd\nboot\n"

func TestGRUBOnBIOS(t *testing.T) {
	m := grubDisk(t, strings.ReplaceAll(bootsOne, "($root)", ""))
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, "vmlinuz", o.Path, "%s", o)
	require.Equal(t, `BOOT_IMAGE=/vmlinuz panic=1 "a b" x=\'y`, o.Cmdline, "as GRUB 2.06 hands it over")

	for what, change := range map[string]func(b []byte) int64{
		"no signature":         func(b []byte) int64 { b[510] = 0; return 0 },
		"no boot code":         func(b []byte) int64 { clear(b[:440]); return 0 },
		"another core's place": func(b []byte) int64 { b[0x5c] = 70; return 0 },
	} {
		bad := m.Clone()
		b := make([]byte, 512)
		_, err := bad.Disk.ReadAt(b, 0)
		require.NoError(t, err)
		_, err = bad.Disk.WriteAt(b, change(b))
		require.NoError(t, err)
		o, err := bad.Boot()
		require.NoError(t, err)
		require.NotEmpty(t, o.Stuck, what)
	}
	bad := m.Clone()
	_, err = bad.Disk.WriteAt([]byte("damage"), 66*512+100)
	require.NoError(t, err)
	o, err = bad.Boot()
	require.NoError(t, err)
	require.Contains(t, o.Stuck, "core image is damaged")
}

func TestWhatGRUBDoesNotSurvive(t *testing.T) {
	for config, want := range map[string]string{
		"":                             "shows its prompt",
		"reboot":                       "restarts for ever",
		"boot":                         "shows its prompt",
		"linux /gone\nboot":            "shows its prompt",
		"linux /vmlinuz panic=1\nboot": "restarts for ever", // without an initramfs the kernel panics
		"linux /vmlinuz\nboot":         "panics and hangs",
		"linux /vmlinuz panic=0\ninitrd /vmlinuz\nboot": "panics and hangs",
	} {
		o, err := grubDisk(t, config).Boot()
		require.NoError(t, err, config)
		require.Contains(t, o.Stuck, want, config)
	}
	_, err := grubDisk(t, "linux /gone\nlinux /vmlinuz\nboot").Boot()
	require.ErrorIs(t, err, predict.ErrNotModelled, "the second starts without its arguments")
	readOnly := struct{ device.Reader }{grubDisk(t, "save_env -f /grub/grub.cfg x y").Disk}
	_, err = predict.Boot(readOnly, efivar.NewMemory(), predict.Options{BIOS: true})
	require.NoError(t, err, "no block, so nothing is written")
}
