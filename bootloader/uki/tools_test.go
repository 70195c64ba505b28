//go:build tools

package uki_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// systemdStub is in Debian's package systemd-boot-efi.
const systemdStub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// binutils judge a UKI over systemd's own stub: objdump lists the sections, objcopy takes each out again.
func TestBinutilsReadAUKIOverSystemdsStub(t *testing.T) {
	stub, err := os.ReadFile(systemdStub)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "os.efi")
	data := assemble(t, stub, parts()...)
	require.NoError(t, os.WriteFile(file, data, 0o600))

	out, err := exec.Command("objdump", "-h", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	img, err := parse(data)
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`(?m)^ +\d+ \.`).FindAll(out, -1), len(img.Sections))
	for _, s := range img.Sections {
		got := filepath.Join(t.TempDir(), "section")
		out, err := exec.Command("objcopy", "-O", "binary", "--dump-section", s.Name+"="+got, file,
			os.DevNull).CombinedOutput()
		require.NoError(t, err, "%s", out)
		want, err := os.ReadFile(got)
		require.NoError(t, err)
		require.Equal(t, want, []byte(content(t, img, s.Name)), s.Name)
	}
	require.Equal(t, "console=ttyS0 quiet", content(t, img, uki.Cmdline))
}
