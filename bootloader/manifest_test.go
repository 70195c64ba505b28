package bootloader_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
)

func manifest() bootloader.Manifest {
	return bootloader.Manifest{
		Format: bootloader.ManifestFormat, Version: "1.2.3", Image: "sha256:" + strings.Repeat("ab", 32),
		Reference: "registry.example.com/os:1.2.3", Arch: "amd64",
		Files: []bootloader.File{{Name: bootloader.UKIFile, Size: 12, SHA256: strings.Repeat("cd", 32)}},
	}
}

func TestManifestComesBackAsItWas(t *testing.T) {
	data, err := bootloader.EncodeManifest(manifest())
	require.NoError(t, err)
	m, err := bootloader.DecodeManifest(data)
	require.NoError(t, err)
	require.Equal(t, manifest(), m)
}

func TestWhatIsNoManifestIsRefused(t *testing.T) {
	good, err := bootloader.EncodeManifest(manifest())
	require.NoError(t, err)
	for name, data := range map[string]string{
		"nothing":            "",
		"cut short":          string(good[:len(good)/2]),
		"bytes after it":     string(good) + "{}",
		"garbage after it":   string(good) + "}",
		"zeros after it":     string(good) + "\x00\x00",
		"an unknown field":   strings.Replace(string(good), `"arch"`, `"arc"`, 1),
		"a later format":     strings.Replace(string(good), `"format": 1`, `"format": 2`, 1),
		"no version":         strings.Replace(string(good), "1.2.3", "", 1),
		"no files":           `{"format":1,"version":"1","image":"","arch":"amd64","files":[]}`,
		"an empty file":      strings.Replace(string(good), `"size": 12`, `"size": 0`, 1),
		"a digest too short": strings.Replace(string(good), "cdcd", "cd", 1),
		"a path that climbs": strings.Replace(string(good), bootloader.UKIFile, "../os.efi", 1),
		"a digest of others": strings.Replace(string(good), "cdcd", "zzzz", 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bootloader.DecodeManifest([]byte(data))
			require.ErrorIs(t, err, bootloader.ErrManifest)
		})
	}
}

func TestManifestThatNobodyCouldReadIsNotWritten(t *testing.T) {
	m := manifest()
	m.Files = nil
	_, err := bootloader.EncodeManifest(m)
	require.ErrorIs(t, err, bootloader.ErrManifest)
}

func FuzzDecodeManifest(f *testing.F) {
	good, err := bootloader.EncodeManifest(manifest())
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := bootloader.DecodeManifest(data)
		if err != nil {
			return
		}
		again, err := bootloader.EncodeManifest(m)
		if bootloader.CheckVersion(m.Version) != nil {
			require.ErrorIs(t, err, bootloader.ErrVersion)
			return
		}
		require.NoError(t, err)
		m2, err := bootloader.DecodeManifest(again)
		require.NoError(t, err)
		require.Equal(t, m, m2)
		third, err := bootloader.EncodeManifest(m2)
		require.NoError(t, err)
		require.True(t, bytes.Equal(again, third))
	})
}

func TestSlots(t *testing.T) {
	for text, want := range map[string]bootloader.Slot{"A": bootloader.A, "b": bootloader.B} {
		s, err := bootloader.ParseSlot(text)
		require.NoError(t, err)
		require.Equal(t, want, s)
	}
	for _, text := range []string{"", "C", "AB", "none"} {
		_, err := bootloader.ParseSlot(text)
		require.ErrorContains(t, err, "want A or B")
	}
	require.Equal(t, bootloader.B, bootloader.A.Other())
	require.Equal(t, bootloader.None, bootloader.None.Other())
	require.Equal(t, "none", bootloader.None.String())
	require.Equal(t, "EFI/pawl/B/os.efi", bootloader.B.File(bootloader.UKIFile))
}

func TestTrialIsWhatRunsAndIsNotTheDefault(t *testing.T) {
	require.True(t, bootloader.State{Active: bootloader.B, Default: bootloader.A}.Trial())
	require.False(t, bootloader.State{Active: bootloader.A, Default: bootloader.A}.Trial())
	require.False(t, bootloader.State{Default: bootloader.A}.Trial(), "a disk image runs nothing")
}
