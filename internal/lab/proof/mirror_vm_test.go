//go:build vm

package proof

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// The first disk is taken out of a machine in which a version is armed: OVMF goes on to the second boot file system,
// and the loader there starts what was confirmed last, as the model says.
func TestOVMFGoesOnToTheMirror(t *testing.T) {
	on := []string{loaders.SystemdBoot}
	if os.Getenv("PAWL_LONG") != "" {
		on = append(on, loaders.GRUBUEFI)
	}
	for _, loader := range on {
		t.Run(loader, func(t *testing.T) {
			kit, err := realKit(t.Context(), t.TempDir(), loader)
			require.NoError(t, err)
			m, err := base(kit, bootloader.A)
			require.NoError(t, err)
			require.NoError(t, m.next(bootloader.A))
			second := disktest.New(kit.Size, 512)
			e := mirror.Elsewhere{Devices: []device.Device{second}}
			fine := func(r mirror.Report, err error) error {
				require.True(t, err != nil || r.Fine(), "%s", r)
				return err
			}
			require.NoError(t, m.with(func(s *upgrade.Machine) error {
				guid, err := mirror.Lay(s, second)
				if err != nil {
					return err
				}
				return fine(mirror.Make(t.Context(), s, e, guid))
			}))
			require.NoError(t, m.moveTo(bootloader.B, "1.1.1"))
			require.NoError(t, m.with(func(s *upgrade.Machine) error {
				return fine(mirror.Keep(t.Context(), s, e, mirror.KeepOptions{}))
			}))
			require.NoError(t, m.upgrade("1.1.2", upgrade.Options{}))

			// The firmware's own entry for the disk that is gone; here the second one is in its place.
			require.NoError(t, m.vars.Delete(efivar.Boot(1)))
			c := bootCase{name: "the first disk is gone", times: 1, kit: kit, disk: second, vars: m.vars.Clone()}
			vars := m.vars.Clone()
			c.model, err = predict.Boot(second.Clone(), vars, predict.Options{})
			require.NoError(t, err)
			n, _, err := bootorder.Current(vars)
			require.NoError(t, err)
			require.Contains(t, bootorder.Describe(vars, n), "Pawl (second boot file system)")
			got, err := c.boot(t.Context(), t.TempDir(), 6*time.Minute)
			require.NoError(t, err)
			require.Equal(t, c.says(), got[0], "the model, and the guest")
			require.Contains(t, got[0], "1.1.1 ")
		})
	}
}
