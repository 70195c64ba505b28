//go:build vm

package exampleos_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// buildGRUB makes the same versions as kernels with initramfs.
var buildGRUB = sync.OnceValues(func() (*world, error) {
	w, err := build()
	if err != nil {
		return nil, err
	}
	g := &world{dir: w.dir, port: w.port, installer: w.installer, system: w.system, images: "images-grub", repo: "grub", digests: map[string]string{}}
	return g, g.pack(g.system.AddForGRUB, append([]osimage.Broken{osimage.CorruptInitramfs}, osimage.AllBroken...)...)
})

// onGRUB runs a scenario on a machine with a BIOS and on one with UEFI, each of which runs 1.0.0 from slot A.
func onGRUB(t *testing.T, scenario func(*machine)) {
	for _, loader := range []upgrade.Loader{upgrade.GRUBBIOS, upgrade.GRUBUEFI} {
		t.Run(string(loader), func(t *testing.T) {
			t.Parallel()
			w, err := buildGRUB()
			require.NoError(t, err)
			m := w.machine(t, loader)
			m.install("1.0.0")
			m.ready("1.0.0", "A")
			scenario(m)
		})
	}
}

// started counts how often GRUB started a slot.
func (m *machine) started(slot string) (n int) {
	for _, l := range m.vm.Lines() {
		if strings.Contains(l.Text, "Pawl: slot "+slot) && !strings.Contains(l.Text, "does not load") {
			n++
		}
	}
	return n
}

// brokenOnGRUB says what is known afterwards of each version that fails.
var brokenOnGRUB = []struct {
	how    osimage.Broken
	thrice bool // also with three tries
	trials bool // it lives long enough to say that it started
	reason string
	bad    bool
}{
	{osimage.CorruptUKI, false, false, "not known to have started", false},
	{osimage.ShortUKI, true, false, "not known to have started", false},
	{osimage.CorruptInitramfs, false, false, "not known to have started", false},
	{osimage.Exits, true, false, "not known to have started", false},
	{osimage.Panics, false, true, "ended without a word", true},
	{osimage.CheckFails, true, true, "self-check failed, as this version was built to", true},
}

func TestGRUBBrokenVersionsFallBack(t *testing.T) {
	for _, tries := range []string{"1", "3"} {
		t.Run(tries, func(t *testing.T) {
			onGRUB(t, func(m *machine) {
				count, before := int(tries[0]-'0'), 0
				for _, b := range brokenOnGRUB {
					if count > 1 && !b.thrice {
						continue
					}
					tag := osimage.Version{Number: "2.1.0", Broken: b.how}.Tag()
					m.upgrade(tag, "--force --tries "+tries)
					if b.how == osimage.ShortUKI {
						// Memory outlives a restart: the half that is missing would be there from the boot before, since all
						// versions have the same kernel (seen with a BIOS).
						m.cut(func() {})
						before = 0
					} else {
						m.restart()
					}
					boots := count
					if b.how == osimage.CheckFails {
						boots = 1 // what says no is not asked again
					}
					for range boots {
						_, err := m.vm.Expect(`Pawl: slot B\s*$`, within)
						require.NoError(m, err)
						if b.trials {
							m.trial(tag, "B")
						}
					}
					_, err := m.vm.Expect(`Pawl: slot A\s*$`, within)
					require.NoError(m, err)
					m.ready("1.0.0", "A")
					require.Equal(m, before+boots, m.started("B"), "%s: GRUB starts it as often as it is counted", tag)
					before += boots
					s := m.status()
					require.Equal(m, "fell back", s.Attempt.Result)
					require.Contains(m, s.Attempt.Reason, b.reason)
					known := false
					for _, k := range s.KnownBad {
						known = known || k.Version == tag
					}
					require.Equal(m, b.bad, known)
				}
			})
		})
	}
}

func TestGRUBTrialMeetsALoss(t *testing.T) {
	onGRUB(t, func(m *machine) {
		// Its kernel is lost while the machine is off: the default boots at once, and says why.
		m.upgrade("2.0.0")
		m.cut(func() {
			m.onBootFS(func(boot *bootfs.FS) { require.NoError(m, boot.Remove(bootloader.B.File(bootloader.KernelFile))) })
		})
		m.ready("1.0.0", "A")
		require.Contains(m, m.status().Attempt.Reason, "GRUB did not find all files of slot B")

		// The block that GRUB writes is lost: nothing is armed, and the next upgrade mends it.
		m.upgrade("2.0.0")
		m.cut(func() {
			m.onBootFS(func(boot *bootfs.FS) {
				require.NoError(m, boot.Overwrite("grub/trial.env", []byte(strings.Repeat("lost", 128))))
			})
		})
		m.ready("1.0.0", "A")
		m.upgrade("2.0.0", "--tries 2")

		// Power fails during the trial, which is tried again.
		m.restart()
		m.trial("2.0.0", "B")
		m.cut(func() {})
		m.trial("2.0.0", "B")
		m.ready("2.0.0", "B")

		// One copy of the default is lost.
		for _, name := range []string{"grub/default.0.env", "grub/default.1.env"} {
			m.cut(func() {
				m.onBootFS(func(boot *bootfs.FS) { require.NoError(m, boot.Overwrite(name, make([]byte, 512))) })
			})
			m.ready("2.0.0", "B")
			m.do("run installer confirm") // mends it
		}
	})
}

// onBootFS changes the boot file system while the machine is off.
func (m *machine) onBootFS(change func(*bootfs.FS)) {
	m.Helper()
	d, err := partition.Open(m.config.Disks[0].Path, partition.OpenOptions{})
	require.NoError(m, err)
	p, err := d.Partition("EFI")
	require.NoError(m, err)
	boot, err := bootfs.Open(p, bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(m, err)
	change(boot)
	require.NoError(m, p.Close())
	require.NoError(m, d.Close())
}
