package upgrade_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// faulty is an operation that meets a device or a firmware that fails once.
type faulty struct {
	do   func(ctx context.Context, m *virtual.Machine) error
	may  []*image.Image // what may boot after it failed; nil stands for nothing
	done *image.Image   // and what boots after it returned nil
	each int            // of so many places one is taken, unless all are asked for; 0 takes all but of reads
	says string         // what it logs where it goes on without having written META, which decides nothing
	// a variable that cannot be deleted is made harmless in another way, and the operation succeeds
	outdone bool
}

func faultyOperations() map[string]func(r *rig) faulty {
	upgradeTo := func(img *image.Image) func(context.Context, *virtual.Machine) error {
		return func(ctx context.Context, m *virtual.Machine) error {
			_, err := m.Upgrade(ctx, img, upgrade.Options{})
			return err
		}
	}
	on := func(do func(ctx context.Context, m *upgrade.Machine) error) func(context.Context, *virtual.Machine) error {
		return func(ctx context.Context, m *virtual.Machine) error {
			sys, err := m.Open()
			if err != nil {
				return err
			}
			return do(ctx, sys)
		}
	}
	confirm := on(func(ctx context.Context, m *upgrade.Machine) error {
		_, err := m.Confirm(ctx, upgrade.Options{})
		return err
	})
	started := on(func(ctx context.Context, m *upgrade.Machine) error {
		_, err := m.Started(ctx)
		return err
	})
	return map[string]func(r *rig) faulty{
		"install": func(r *rig) faulty {
			r.Machine = &virtual.Machine{Disk: disktest.New(virtual.Size, 512), Vars: efivar.NewMemory()}
			return faulty{func(ctx context.Context, m *virtual.Machine) error {
				o := upgrade.InstallOptions{Loader: sdboot.Backend{}, Partitions: virtual.Partitions(), Seed: "virtual",
					Now: virtual.Now, Vars: m.Vars, Force: true}
				return upgrade.Install(ctx, m.Disk, r.one, o)
			}, []*image.Image{nil, r.one}, r.one, 7, "", false}
		},
		"upgrade": func(r *rig) faulty {
			two := r.image("2.0.0")
			return faulty{upgradeTo(two), []*image.Image{r.one}, two, 0, "", false}
		},
		"upgrade over a complete version": func(r *rig) faulty {
			two := r.image("2.0.0")
			r.upgrade(two)
			r.boots(bootloader.B, "2.0.0")
			r.confirm()
			three := r.image("3.0.0")
			return faulty{upgradeTo(three), []*image.Image{two}, three, 3, "", false}
		},
		"upgrade over an armed one": func(r *rig) faulty {
			two, three := r.image("2.0.0"), r.image("3.0.0")
			r.upgrade(two)
			return faulty{do: upgradeTo(three), may: []*image.Image{r.one, two}, done: three, each: 3, outdone: true}
		},
		"confirm": func(r *rig) faulty {
			two := r.image("2.0.0")
			r.upgrade(two)
			r.boots(bootloader.B, "2.0.0")
			return faulty{confirm, []*image.Image{r.one, two}, two, 0, "the confirmation is not recorded", false}
		},
		"rollback": func(r *rig) faulty {
			two := r.image("2.0.0")
			r.upgrade(two)
			r.boots(bootloader.B, "2.0.0")
			r.confirm()
			return faulty{on(func(ctx context.Context, m *upgrade.Machine) error {
				a, err := m.Rollback(ctx, upgrade.Options{})
				if err == nil && !a.Open() { // the one before was armed all the same, and is disarmed now
					_, err = m.Rollback(ctx, upgrade.Options{})
				}
				return err
			}), []*image.Image{two}, r.one, 0, "", false}
		},
		"started on a trial": func(r *rig) faulty {
			r.upgrade(r.image("2.0.0"))
			require.NoError(r.t, r.Boot())
			return faulty{started, []*image.Image{r.one}, r.one, 0, "", false}
		},
		"started after a trial": func(r *rig) faulty {
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			require.NoError(r.t, r.Boot())
			return faulty{started, []*image.Image{r.one}, r.one, 0, "", false}
		},
		"upgrade on GRUB": func(r *rig) faulty {
			*r = *startGRUB(r.t, loaders.GRUBBIOS)
			two := grubImage(r.t, r.images, "2.0.0")
			// Arming is a write to the disk here: where its flush fails, it cannot be taken back, and may have arrived.
			return faulty{upgradeTo(two), []*image.Image{r.one, two}, two, 3, "", false}
		},
		"confirm on GRUB": func(r *rig) faulty {
			*r = *startGRUB(r.t, loaders.GRUBUEFI)
			two := grubImage(r.t, r.images, "2.0.0")
			r.upgrade(two)
			r.boots(bootloader.B, "2.0.0")
			return faulty{confirm, []*image.Image{r.one, two}, two, 0, "the confirmation is not recorded", false}
		},
		"stage": func(r *rig) faulty {
			two := r.image("2.0.0")
			return faulty{on(func(ctx context.Context, m *upgrade.Machine) error {
				_, err := m.Stage(ctx, two, upgrade.Options{})
				return err
			}), []*image.Image{r.one}, r.one, 3, "", false}
		},
	}
}

// loaded is the SHA-256 of what a loader loads of an image: the UKI, with GRUB the kernel.
func loaded(img *image.Image) string {
	i := slices.IndexFunc(img.Assets, func(a image.Asset) bool {
		return a.Name == pack.UKIAsset ||
			a.Name == pack.KernelAsset
	})
	return img.Assets[i].SHA256
}

// variableFails is a fault beside those of a disk: the write of a firmware variable fails.
const variableFails = disktest.Fault(-1)

var (
	errFirmware = errors.New("the firmware says no")
	errSaid     = errors.New("no error, and a warning")
)

// run does the operation on a copy of the machine, whose nth operation of that kind fails, if it gets there.
func (f faulty) run(ctx context.Context, r *rig, fault disktest.Fault, n int) (m *virtual.Machine, struck bool,
	result error) {
	m = copyOf(r.Machine)
	var log bytes.Buffer
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	if fault == variableFails {
		m.Vars.BeforeWrite = func(efivar.Name, []byte) error {
			if n--; n == 0 {
				struck = true
				return errFirmware
			}
			return nil
		}
	} else {
		m.Disk.FailAt(n, fault)
	}
	result = f.do(ctx, m)
	if result == nil && f.says != "" && strings.Contains(log.String(), f.says) {
		result = errSaid
	}
	struck = struck || m.Disk.Failed()
	m.Vars.BeforeWrite = nil
	m.Disk = m.Disk.Clone() // without a fault that waits
	return m, struck, result
}

func copyOf(m *virtual.Machine) *virtual.Machine {
	return &virtual.Machine{Disk: m.Disk.Clone(), Vars: m.Vars.Clone(), Loader: m.Loader, Boots: m.Boots, Last: m.Last}
}

// judge says what must hold after a fault: what boots is one of the complete versions that may, the new one once the
// operation has said that it is done; and the same operation again, in the same boot, finishes.
func (f faulty) judge(ctx context.Context, m *virtual.Machine, fault disktest.Fault, result error) error {
	may := f.may
	switch {
	case errors.Is(result, errSaid):
		may = []*image.Image{f.done}
	case result == nil:
		may = []*image.Image{f.done}
		if fault != disktest.ReadFails && !(fault == variableFails && f.outdone) {
			return errors.New("it was swallowed")
		}
	}
	if err := boots(m, may); err != nil {
		return err
	}
	if err := f.do(ctx, m); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if err := boots(m, []*image.Image{f.done}); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}

// boots says whether what boots next is one of these.
func boots(m *virtual.Machine, may []*image.Image) error {
	c := copyOf(m)
	if err := c.Boot(); err != nil {
		return err
	}
	for _, img := range may {
		if img == nil && c.Last.Digest == "" || img != nil && loaded(img) == c.Last.Digest {
			return nil
		}
	}
	return fmt.Errorf("what boots: %s", c.Last)
}

// Every read, write and flush of a disk, and every write of a variable, fails once, at each place that an operation
// comes to. PAWL_LONG=1 takes every one: without it, of an install each 7th, of what is much like another operation
// each 3rd, and of reads each 23rd of those.
func TestAFaultAtAnyOperation(t *testing.T) {
	names := map[disktest.Fault]string{variableFails: "variable fails"}
	for _, fault := range disktest.Faults() {
		names[fault] = fault.String()
	}
	for name, prepare := range faultyOperations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			f := prepare(r)
			ctx := unrehearsed.Context(t.Context()) // which reads much and writes nothing: see rehearse_test.go
			total := 0
			for fault, what := range names {
				met, step := 0, 1
				if os.Getenv("PAWL_LONG") == "" {
					step = max(f.each, 1)
					if fault == disktest.ReadFails {
						step *= 23
					}
				}
				for n := 1; ; n += step {
					m, struck, result := f.run(ctx, r, fault, n)
					if !struck {
						require.NoError(t, result)
						break
					}
					met++
					require.NoError(t, f.judge(ctx, m, fault, result), "%s %d: %v", what, n, result)
				}
				t.Logf("%s: %d", what, met)
				total += met
			}
			require.Greater(t, total, 10)
		})
	}
}
