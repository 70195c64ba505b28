package upgrade_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// restated is an image that states another version than its builder did; "" is none.
func (r *rig) restated(img *image.Image, version string) *image.Image {
	r.t.Helper()
	dir := r.images.Dir()
	put := func(v any) (string, int) {
		data, err := json.Marshal(v)
		require.NoError(r.t, err)
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		require.NoError(r.t, os.WriteFile(filepath.Join(dir, "blobs/sha256", sum), data, 0o600))
		return "sha256:" + sum, len(data)
	}
	get := func(file string) (m map[string]any) {
		raw, err := os.ReadFile(file)
		require.NoError(r.t, err)
		require.NoError(r.t, json.Unmarshal(raw, &m))
		return m
	}
	blobs := r.blobsOf(img)
	config, m := get(blobs["config"]), get(blobs["manifest"])
	delete(config["config"].(map[string]any), "Labels")
	annotations := m["annotations"].(map[string]any)
	annotations[pack.VersionAnnotation] = version
	if version == "" {
		delete(annotations, pack.VersionAnnotation)
	}
	descriptor := m["config"].(map[string]any)
	descriptor["digest"], descriptor["size"] = put(config)
	digest, _ := put(m)
	img, err := image.Open(r.t.Context(), "oci:"+dir+"@"+digest, image.Options{Arch: "amd64"})
	require.NoError(r.t, err)
	return img
}

// What an image states may be the label of another image that it was built from, a tag, a branch, or nothing.
func TestTheSystemsOwnWordForItsVersionCounts(t *testing.T) {
	for _, stated := range []string{"v1.1.0", "main", "22.04", ""} {
		t.Run(stated, func(t *testing.T) {
			r := start(t)
			img := r.restated(r.image("1.1.0"), stated)
			_, err := r.Upgrade(t.Context(), img, upgrade.Options{})
			require.NoError(t, err)
			require.Equal(t, "1.1.0", r.status().Attempt.Version)
			r.boots(bootloader.B, "1.1.0")
			r.confirm()
			require.Equal(t, "1.1.0", r.status().Running().Manifest.Version)
			r.upgrade(r.image("1.2.0"))
		})
	}
	t.Run("on a new disk", func(t *testing.T) {
		r := start(t)
		m, err := virtual.Install(t.Context(), r.restated(r.one, "22.04"))
		require.NoError(t, err)
		r.Machine = m
		r.boots(bootloader.A, "1.0.0")
		r.upgrade(r.image("1.1.0"))
	})
}

// The policy judges the version that will run, before the target is lost.
func TestAnImageThatStatesAHigherVersionThanItHas(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("1.1.0"))
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
	_, err := r.Upgrade(t.Context(), r.restated(r.image("0.9.0"), "1.2.0"), upgrade.Options{})
	require.ErrorIs(t, err, versions.ErrPolicy)
	require.ErrorContains(t, err, "0.9.0 is lower than 1.1.0")
	require.Equal(t, "1.0.0", r.status().Slots[0].Manifest.Version, "the target holds what it held")
}

func TestVersionsThatAreNone(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("1.1.0"))
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
	m, err := r.Open()
	require.NoError(t, err)
	for what, stated := range map[string]string{"a space": "1 2", "a newline": "1.2.0\ninitrd /x",
		"600 characters": strings.Repeat("1", 600), "an escape": "1\x1b[2J"} {
		img := r.restated(r.image("1.2.0"), "1.2.0")
		img.Version = stated
		_, err = m.Plan(t.Context(), img, upgrade.Options{Force: true})
		require.ErrorIs(t, err, bootloader.ErrVersion, what)
		require.NotContains(t, err.Error(), "\x1b")
		require.ErrorIs(t, upgrade.Install(t.Context(), r.Disk, img, upgrade.InstallOptions{Loader: sdboot.Backend{},
			Force: true}), bootloader.ErrVersion, what)
	}
	_, err = r.Upgrade(t.Context(), r.foreign([]entry{file("usr/install/amd64/vmlinuz.efi",
		unified(t, "VERSION_ID=\"1.2.0 beta\"\n"))}), upgrade.Options{Force: true})
	require.ErrorIs(t, err, bootloader.ErrVersion, "the system's own")
	require.Equal(t, "1.0.0", r.status().Slots[0].Manifest.Version, "the target holds what it held")
}

// Where neither the image nor the system in it states a version, the digest is one, and is compared with nothing.
func TestADigestInThePlaceOfAVersionIsConfirmed(t *testing.T) {
	r := start(t)
	img := r.restated(r.made("1.1.0", virtual.Spec{Release: "ID=virtual\n"}), "")
	r.upgrade(img)
	require.NoError(t, r.Boot())
	m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
		Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "1.1.0", Now: virtual.Now})
	require.NoError(t, err)
	_, err = m.Started(t.Context())
	require.NoError(t, err)
	_, err = m.Confirm(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	s, err := m.Status()
	require.NoError(t, err)
	require.Equal(t, img.Digest, s.Running().Manifest.Version)
	_, err = m.Plan(t.Context(), r.image("1.2.0"), upgrade.Options{})
	require.NoError(t, err)
}

// A disk that was made by a program that believed the image.
func TestDoctorTellsOfASystemOfAnotherName(t *testing.T) {
	r := start(t)
	require.Equal(t, doctor.Fine, r.diagnose().Severity())
	f := r.bootFiles()
	name := bootloader.A.File(bootloader.ManifestFile)
	data, err := f.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, f.Remove(name))
	w, err := f.Create(name, int64(len(data)))
	require.NoError(t, err)
	_, err = w.Write([]byte(strings.Replace(string(data), "1.0.0", "22.04", 1)[:len(data)-1] + " "))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	d := r.diagnose()
	require.Equal(t, doctor.Degraded, d.Severity())
	require.Contains(t, fmt.Sprint(d.Findings), `Its manifest says version 22.04, and its system calls itself "1.0.0"`)

	_, err = r.Upgrade(t.Context(), r.image("1.1.0"), upgrade.Options{})
	require.ErrorIs(t, err, bootloader.ErrAmbiguous)
	_, err = r.Upgrade(t.Context(), r.image("1.1.0"), upgrade.Options{Force: true})
	require.NoError(t, err, "the way out")
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
}
