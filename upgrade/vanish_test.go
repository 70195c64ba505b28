package upgrade_test

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/unfinished"
)

// leaving is a disk that is pulled out after some operations: each later one fails.
type leaving struct {
	upgrade.Device
	after int64
	done  atomic.Int64
}

func (l *leaving) there() error {
	if l.done.Add(1) > l.after {
		return syscall.ENODEV
	}
	return nil
}

func (l *leaving) ReadAt(p []byte, off int64) (int, error) {
	if err := l.there(); err != nil {
		return 0, err
	}
	return l.Device.ReadAt(p, off)
}

func (l *leaving) WriteAt(p []byte, off int64) (int, error) {
	if err := l.there(); err != nil {
		return 0, err
	}
	return l.Device.WriteAt(p, off)
}

func (l *leaving) Sync() error {
	if err := l.there(); err != nil {
		return err
	}
	return l.Device.Sync()
}

// A disk that vanishes ends an install with that reason. Put in again, it boots the whole version, or has no partition
// table, or says that the install did not finish, as after a power cut.
func TestADiskThatVanishesWhileItIsInstalled(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	whole := &leaving{Device: disktest.New(virtual.Size, 512), after: 1 << 40}
	require.NoError(t, install(whole, nil))
	all := whole.done.Load()
	require.Greater(t, all, int64(100))
	seen := map[string]int{}
	for after := int64(0); after < all; after += max(1, all/40) {
		disk := disktest.New(virtual.Size, 512)
		err := install(&leaving{Device: disk, after: after}, nil)
		require.ErrorContains(t, err, syscall.ENODEV.Error(), "after %d of %d operations", after, all)
		out, err := predict.Boot(predict.NewOverlay(disk), efivar.NewMemory(), predict.Options{})
		require.NoError(t, err)
		_, table := partition.Read(disk)
		switch {
		case out.Stuck == "" && out.Slot == bootloader.A:
			seen["boots"]++
		case table != nil:
			seen["has no table"]++
		default:
			require.NotEmpty(t, unfinished.Of(disk, nil), "after %d of %d operations", after, all)
			seen["says so"]++
		}
	}
	require.NotZero(t, seen["has no table"], seen)
	require.NotZero(t, seen["says so"], seen)
}
