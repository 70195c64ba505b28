package bootloader_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
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

// withImages has a root on verity and another image.
func withImages() bootloader.Manifest {
	m := manifest()
	m.Format = bootloader.ImagesFormat
	m.Images = []bootloader.Image{
		{Name: bootloader.RootImage, Partition: uuid.MustParse("11223344-5566-7788-99aa-bbccddeeff01"), Size: 4096,
			SHA256: strings.Repeat("ef", 32), Verity: strings.Repeat("12", 32)},
		{Name: "usr2", Partition: uuid.MustParse("11223344-5566-7788-99aa-bbccddeeff02"), Size: 5,
			SHA256: strings.Repeat("ab", 32)},
	}
	return m
}

func TestImagesComeBackAsTheyWere(t *testing.T) {
	data, err := bootloader.EncodeManifest(withImages())
	require.NoError(t, err)
	m, err := bootloader.DecodeManifest(data)
	require.NoError(t, err)
	require.Equal(t, withImages(), m)
	root, ok := m.FindImage("root")
	require.True(t, ok)
	require.Equal(t, m.Images[0], root)
	_, ok = m.FindImage("var")
	require.False(t, ok)
}

// What read manifests before there were images: the same struct without them, unknown fields refused, format 1 only.
func TestOlderReadersRefuseAManifestWithImages(t *testing.T) {
	type older struct {
		Format    int               `json:"format"`
		Version   string            `json:"version"`
		Image     string            `json:"image"`
		Reference string            `json:"reference,omitempty"`
		Arch      string            `json:"arch"`
		Files     []bootloader.File `json:"files"`
	}
	read := func(m bootloader.Manifest) (older, error) {
		data, err := bootloader.EncodeManifest(m)
		require.NoError(t, err)
		var o older
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		return o, dec.Decode(&o)
	}
	_, err := read(manifest())
	require.NoError(t, err)
	o, err := read(withImages())
	require.ErrorContains(t, err, `unknown field "images"`)
	require.NotEqual(t, bootloader.ManifestFormat, o.Format, "and by its format, whoever takes unknown fields")
}

func TestImagesThatCannotBeAreRefused(t *testing.T) {
	good, err := bootloader.EncodeManifest(withImages())
	require.NoError(t, err)
	guid := "11223344-5566-7788-99aa-bbccddeeff01"
	for name, change := range map[string][2]string{
		"the format without images": {`"format": 2`, `"format": 1`},
		"no name":                   {`"name": "root"`, `"name": ""`},
		"a name in capitals":        {`"name": "root"`, `"name": "Root"`},
		"a name that climbs":        {`"name": "root"`, `"name": "../r"`},
		"a name of a digit":         {`"name": "root"`, `"name": "2"`},
		"a long name":               {`"name": "root"`, `"name": "rootrootrootroota"`},
		"two of a name":             {`"name": "usr2"`, `"name": "root"`},
		"two in a partition":        {"ff02", "ff01"},
		"no partition":              {guid, "00000000-0000-0000-0000-000000000000"},
		"a partition of others":     {guid, "sda1"},
		"no size":                   {`"size": 4096`, `"size": 0`},
		"a negative size":           {`"size": 4096`, `"size": -1`},
		"a digest too short":        {"efef", "ef"},
		"a root hash of others":     {"1212", "zz12"},
		"an unknown field":          {`"verity"`, `"veritas"`},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(good), change[0], change[1], 1)
			require.NotEqual(t, string(good), bad)
			_, err := bootloader.DecodeManifest([]byte(bad))
			require.ErrorIs(t, err, bootloader.ErrManifest)
		})
	}
	m := withImages()
	for i := range bootloader.MaxImages {
		m.Images = append(m.Images, bootloader.Image{Name: fmt.Sprintf("i%d", i), Partition: uuid.New(), Size: 1,
			SHA256: strings.Repeat("ab", 32)})
	}
	_, err = bootloader.EncodeManifest(m)
	require.ErrorIs(t, err, bootloader.ErrManifest, "too many")
	plain, err := bootloader.EncodeManifest(manifest())
	require.NoError(t, err)
	for _, format := range []string{`"format": 1`, `"format": 2`} {
		text := strings.Replace(string(plain), `"format": 1`, format, 1)
		text = strings.TrimSuffix(text, "\n}\n") + ",\n  \"images\": []\n}\n"
		_, err = bootloader.DecodeManifest([]byte(text))
		require.ErrorIs(t, err, bootloader.ErrManifest, "an empty list, %s", format)
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
	images, err := bootloader.EncodeManifest(withImages())
	require.NoError(f, err)
	f.Add(images)
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
