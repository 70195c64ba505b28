package upgrade_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

func noVariables(efivar.Name, []byte) error { return errNoVariables }

// record has the disk record from now on, the variables included.
func (r *rig) record() {
	for key, value := range r.Vars.Values() {
		r.Disk.Atomic(key, value)
	}
	r.Vars.BeforeWrite = func(name efivar.Name, value []byte) error {
		r.Disk.Atomic(name.String(), value)
		return nil
	}
	r.Disk.Record()
}

// TestStagedUpgradeCutAnywhere cuts the power at each write of staging, and of the boot that applies what is staged.
// The machine that comes back does what a system does, boot after boot. It has to end in "done" with the new version,
// or in "failed" or nothing staged with the old one, after few boots, and then stay.
func TestStagedUpgradeCutAnywhere(t *testing.T) {
	for _, during := range []string{"stage", "apply"} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("during %s, new version dies %v", during, dies), func(t *testing.T) {
				r := start(t)
				two := r.image("2.0.0")
				if during == "stage" {
					r.record()
					r.stage(two, upgrade.Options{})
				} else {
					r.stage(two, upgrade.Options{})
					require.True(t, r.boots("A", "1.0.0").Staged)
					r.record()
					_, err := r.apply()
					require.NoError(t, err)
				}
				ends := map[string]int{}
				o := disktest.Options{Block: 512, Exhaustive: 4, Destroyed: 16, Samples: 2, Seed: 1}
				err := r.Disk.Trace().Crashes(o, func(c *disktest.Crash) error {
					if strings.Contains(c.String(), "unreadable") {
						return nil // what read errors do to the loader is the proof's of the boot file system
					}
					vars, err := efivar.LoadMemory(c.Atomics())
					if err != nil {
						return err
					}
					m := &virtual.Machine{Disk: c.Device(), Vars: vars, Boots: r.Boots}
					end, err := live(t, m, dies)
					if err != nil {
						return fmt.Errorf("%s: %w", c, err)
					}
					ends[end]++
					return nil
				})
				require.NoError(t, err)
				t.Log(ends)
				if dies {
					require.Zero(t, ends["done, 2.0.0 runs"])
				} else {
					require.NotZero(t, ends["done, 2.0.0 runs"])
				}
			})
		}
	}
}

// live boots a machine until nothing changes any more and says how that is.
func live(t *testing.T, m *virtual.Machine, dies bool) (string, error) {
	for boots := 1; boots <= 8; boots++ {
		if err := m.Boot(); err != nil {
			return "", err
		}
		if m.Last.Path == "" {
			return "", fmt.Errorf("nothing boots: %s", m.Last)
		}
		if m.Last.Trial && dies {
			continue
		}
		b, err := m.Started(t.Context())
		if err != nil {
			return "", err
		}
		sys, err := m.Open()
		if err != nil {
			return "", err
		}
		switch {
		case b.Staged:
			_, _ = sys.ApplyStaged(t.Context(), upgrade.Options{})
			continue
		case b.Trial:
			if _, err := m.Confirm(t.Context()); err != nil {
				return "", err
			}
			continue
		case b.Ended:
			continue // what was recorded stays
		}
		s, err := sys.Status()
		switch {
		case err != nil:
			return "", err
		case s.Attempt == nil || s.Attempt.Staging() == "":
			return "not staged, " + s.Version + " runs", expect(s, "1.0.0")
		case s.Attempt.Open():
			return "", fmt.Errorf("the attempt is open for ever: %s", s.Attempt)
		case s.Attempt.Result == attempt.Confirmed:
			return "done, " + s.Version + " runs", expect(s, "2.0.0")
		}
		return "failed, " + s.Version + " runs", expect(s, "1.0.0")
	}
	return "", fmt.Errorf("it does not settle")
}

func expect(s report.Status, version string) error {
	if s.Version != version || s.Loader.Trial() {
		return fmt.Errorf("%s runs, %s", s.Version, s.Attempt)
	}
	return nil
}
