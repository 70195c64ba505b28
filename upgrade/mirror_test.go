package upgrade_test

import (
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// A mirror sends wrong bytes of the right length. They are found when a layer ends, and written by then; the registry's
// own replace them.
func TestAMirrorThatSendsWrongBytes(t *testing.T) {
	for what, at := range map[string]float64{"at the beginning": 0.0001, "in the middle": 0.5, "at the end": 0.999} {
		for kind, c := range map[string]pack.Compression{"stored": pack.None, "packed": pack.Zstd} {
			t.Run(kind+" "+what, func(t *testing.T) {
				r := start(t)
				_, err := r.images.Image("2.0.0", virtual.Spec{Size: 5<<20 + 300_000, Compression: c})
				require.NoError(t, err)
				origin, img := r.pushed("2.0.0")
				mirror, _ := r.pushed("2.0.0")
				layer, err := os.Stat(r.blobsOf(img)["layer 1"])
				require.NoError(t, err)
				mirror.Fault(testregistry.Fault{Path: "/blobs/", Tamper: func(off int64, p []byte) {
					if n := int64(at*float64(layer.Size())) - off; n >= 0 && n < int64(len(p)) {
						p[n] ^= 0x55
					}
				}})
				img, err = image.Open(t.Context(), img.Reference, image.Options{
					Arch: "amd64", Keychain: authn.NewMultiKeychain(),
					Mirrors: map[string][]string{origin.Host(): {mirror.Host()}},
				})
				require.NoError(t, err)
				origin.Heal()
				_, err = r.Upgrade(t.Context(), img, upgrade.Options{})
				require.NoError(t, err)
				require.NotZero(t, layers(mirror))
				require.NotZero(t, layers(origin))
				r.boots(bootloader.B, "2.0.0")
				r.confirm()
				require.Equal(t, doctor.Fine, r.diagnose().Severity(), "%v", r.diagnose().Findings)
			})
		}
	}
}
