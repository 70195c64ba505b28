package sdboot_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// The arguments of a kernel reach it in one line, ours first, and say what a panic does.
func TestArgumentsOfAKernel(t *testing.T) {
	const ours = `initrd=\EFI\pawl\B\initrd pawl.slot=B pawl.boot=11223344-5566-7788-99aa-bbccddeeff01 `
	for cmdline, want := range map[string]string{
		"\n":                            "panic=10",
		"quiet\n":                       "panic=10 quiet",
		"  a\tb \n panic=1\n":           "a b panic=1",
		"quiet -- panic=1":              "panic=10 quiet -- panic=1",
		`panic=1 dyndbg="file a.c +p"`:  `panic=1 dyndbg="file a.c +p"`,
		`panic=1 x="two  spaces" y='\'`: `panic=1 x="two  spaces" y='\'`,
		"panic=1 \u00e4=\u00f6":         "panic=1 \u00e4=\u00f6",
	} {
		r, err := kernels.Installed()
		require.NoError(t, err)
		m, err := r.Fill(r.FS, bootloader.B, "2")
		require.NoError(t, err)
		rewrite(t, r, &m, bootloader.CmdlineFile, cmdline)
		require.NoError(t, r.Prepare(bootloader.B, m, 1))
		require.NoError(t, r.Arm(bootloader.B, 1))
		o, err := r.Boot()
		require.NoError(t, err)
		require.Equal(t, bootloader.B, o.Slot)
		require.Equal(t, ours+want, o.Cmdline)
		again, err := kernels.Rig(r.Machine)
		require.NoError(t, err)
		require.NoError(t, again.Confirm(bootloader.B))
		o, err = r.Boot()
		require.NoError(t, err)
		require.Equal(t, ours+want, o.Cmdline, "a confirm keeps them")
	}
}

func TestArgumentsThatAnEntryCannotHold(t *testing.T) {
	r, err := kernels.Installed()
	require.NoError(t, err)
	l := r.Bootloader.(*sdboot.Loader)
	room := l.ArgumentsRoom("2")
	require.NoError(t, l.CheckArguments("2", "panic=1 "+strings.Repeat("x", room-8)))
	for _, cmdline := range []string{"panic=1 " + strings.Repeat("x", room-7), "panic=1 pawl.slot=A", "pawl.boot=x",
		"a\x01b", "x=\"a\nb\""} {
		require.Error(t, l.CheckArguments("2", cmdline), "%q", cmdline)
		m, err := r.Fill(r.FS, bootloader.B, "2")
		require.NoError(t, err)
		rewrite(t, r, &m, bootloader.CmdlineFile, cmdline+strings.Repeat("x", 40))
		require.Error(t, r.Prepare(bootloader.B, m, 1), "%q", cmdline)
		require.Equal(t, []bootloader.Slot{bootloader.A}, state(t, r).Bootable)
	}
}

// rewrite gives a file of slot B other content, and the manifest with it.
func rewrite(t *testing.T, r *loadertest.Rig, m *bootloader.Manifest, name, content string) {
	t.Helper()
	for i := range m.Files {
		if m.Files[i].Name == name {
			m.Files[i].Size = int64(len(content))
		}
	}
	data, err := bootloader.EncodeManifest(*m)
	require.NoError(t, err)
	require.NoError(t, r.FS.WriteFile(bootloader.B.File(name), []byte(content)))
	require.NoError(t, r.FS.WriteFile(bootloader.B.File(bootloader.ManifestFile), data))
}

// A kernel that another disk's loader started says so, and is no slot of ours.
func TestKernelOfAnotherDisk(t *testing.T) {
	r, err := kernels.Installed()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, state(t, r).Active)
	r.Cmdline = strings.Replace(r.Cmdline, "pawl.boot=1", "pawl.boot=9", 1)
	other, err := kernels.Rig(r.Machine)
	require.NoError(t, err)
	require.Equal(t, bootloader.None, state(t, other).Active)
	require.Contains(t, strings.Join(state(t, other).Warnings, " "), "not from this disk's")
}
