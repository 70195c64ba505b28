package upgrade_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// blobsOf are the files of an image in the layout, by what they are: manifest, config, and each layer.
func (r *rig) blobsOf(img *image.Image) map[string]string {
	r.t.Helper()
	file := func(digest string) string {
		return filepath.Join(r.images.Dir(), "blobs/sha256", strings.TrimPrefix(digest, "sha256:"))
	}
	blobs := map[string]string{"manifest": file(img.PlatformDigest)}
	raw, err := os.ReadFile(blobs["manifest"])
	require.NoError(r.t, err)
	var m struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	require.NoError(r.t, json.Unmarshal(raw, &m))
	blobs["config"] = file(m.Config.Digest)
	for n, l := range m.Layers {
		blobs[fmt.Sprintf("layer %d", n+1)] = file(l.Digest)
	}
	return blobs
}

// untouchable is the digest of what a refused image must not change: all of the boot file system but slot B, and the
// firmware's variables.
func untouchable(t *testing.T, m *virtual.Machine) string {
	t.Helper()
	l, err := partition.Read(m.Disk)
	require.NoError(t, err)
	p, err := l.Find("EFI")
	require.NoError(t, err)
	f, err := bootfs.Open(partition.Section(m.Disk, p), bootfs.Options{})
	require.NoError(t, err)
	h := sha256.New()
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := f.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			path := strings.TrimPrefix(dir+"/"+e.Name, "/")
			switch {
			case path == bootloader.B.Dir() || e.Name == "." || e.Name == "..":
			case e.Dir:
				walk(path)
			default:
				in, err := f.Open(path)
				require.NoError(t, err)
				fmt.Fprintln(h, path, e.Size)
				_, err = io.Copy(h, in)
				require.NoError(t, err)
			}
		}
	}
	walk("")
	for _, name := range []string{"loader/entries/pawl-a.conf", "EFI/BOOT/BOOTX64.EFI",
		bootloader.A.File(bootloader.UKIFile)} {
		_, err := f.Stat(name)
		require.NoError(t, err, "what is compared has to be there")
	}
	values, err := json.Marshal(m.Vars.Values())
	require.NoError(t, err)
	h.Write(values)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestWrongImagesTouchNothingThatBoots upgrades to an image with one bit turned, or all cut off, at the first byte, the
// last and every hundredth of manifest, config and layer; and with each of them in another's place, and in that of
// another image.
func TestWrongImagesTouchNothingThatBoots(t *testing.T) {
	r := start(t)
	two, three := r.onlyUKI("2.0.0", []byte("kernel of two")), r.onlyUKI("3.0.0", []byte("another one"))
	before := untouchable(t, r.Machine)
	tried := 0
	refused := func(what string) {
		tried++
		m := &virtual.Machine{Disk: r.Disk.Clone(), Vars: r.Vars.Clone(), Boots: r.Boots, Last: r.Last}
		img, err := image.Open(t.Context(), two.Reference, image.Options{Arch: "amd64"})
		if err == nil {
			_, err = m.Upgrade(t.Context(), img, upgrade.Options{Force: true})
		}
		require.ErrorIs(t, err, image.ErrTampered, what)
		require.Equal(t, before, untouchable(t, m), what)
		if tried%10 == 0 {
			require.NoError(t, m.Boot())
			require.Equal(t, bootloader.A, m.Last.Slot, "%s: %s", what, m.Last)
			require.False(t, m.Last.Trial)
		}
	}
	blobs, others := r.blobsOf(two), r.blobsOf(three)
	require.Len(t, blobs, 3)
	for what, file := range blobs {
		good, err := os.ReadFile(file)
		require.NoError(t, err)
		put := func(data []byte) { require.NoError(t, os.WriteFile(file, data, 0o600)) }
		last := -1
		for percent := range 101 {
			at := min(len(good)-1, len(good)*percent/100)
			if at == last {
				continue
			}
			last = at
			bad := append([]byte(nil), good...)
			bad[at] ^= 1 << (percent % 8)
			put(bad)
			refused(fmt.Sprintf("%s, byte %d of %d", what, at, len(good)))
			put(good[:at])
			refused(fmt.Sprintf("%s, cut off at byte %d of %d", what, at, len(good)))
		}
		for other, place := range blobs {
			if data, err := os.ReadFile(place); other != what {
				require.NoError(t, err)
				put(data)
				refused(fmt.Sprintf("%s in the place of %s", other, what))
			}
		}
		data, err := os.ReadFile(others[what])
		require.NoError(t, err)
		put(data)
		refused("another image's " + what)
		put(good)
	}
	require.Greater(t, tried, 600, "3 blobs, 101 places, 2 ways")
	m := &virtual.Machine{Disk: r.Disk.Clone(), Vars: r.Vars.Clone(), Boots: r.Boots, Last: r.Last}
	_, err := m.Upgrade(t.Context(), two, upgrade.Options{})
	require.NoError(t, err, "and the image as it is")
	require.NotEqual(t, before, untouchable(t, m), "which is seen")
	t.Logf("wrong images: tried=%d refused=%d", tried, tried)
}
