package uki_test

import (
	"bytes"
	"debug/pe"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/uki"
)

// An addon is a PE file of the machine, with the arguments and a program that is never started.
func TestAddon(t *testing.T) {
	for arch, machine := range map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64,
		"arm64": pe.IMAGE_FILE_MACHINE_ARM64} {
		data, err := uki.Addon(arch, "console=ttyS1 quiet")
		require.NoError(t, err)
		f, err := pe.NewFile(bytes.NewReader(data))
		require.NoError(t, err)
		require.Equal(t, machine, f.Machine)
		require.NotNil(t, f.Section(".text"))
		line, err := f.Section(".cmdline").Data()
		require.NoError(t, err)
		require.Equal(t, "console=ttyS1 quiet", string(bytes.TrimRight(line, "\x00")))
		img, err := parse(data)
		require.NoError(t, err)
		require.Equal(t, arch, img.Arch)
	}
	_, err := uki.Addon("riscv64", "x")
	require.ErrorContains(t, err, "want amd64 or arm64")
	_, err = uki.Addon("amd64", "")
	require.ErrorContains(t, err, "section .cmdline is empty")
}
