package upgrade

import (
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// unordered says why no attempt on record ordered this boot of a slot that is not the default; empty where one did, and
// where the default runs. a is what META holds, read without an error: a META that cannot be read rules nothing out.
//
// Whatever a power cut leaves, META says that a slot is armed before the loader does. So a slot that runs although META
// names another attempt, none, or one that is not armed or is over, was started by somebody or something else. Where
// the loader does not say what its default is, the model does.
func (m *Machine) unordered(st bootloader.State, a *attempt.Attempt) string {
	switch {
	case !st.Trial() || st.Default == bootloader.None && m.onlyChoice(st, a):
		return ""
	case a != nil && a.From == st.Active && a.Boots.Prepared == m.BootID:
		// it was the default when this boot prepared the attempt; damage to the loader's files made another one
		return ""
	case a == nil:
		return "META holds no attempt"
	case a.To != st.Active:
		return fmt.Sprintf("the latest attempt is for slot %s (%s)", a.To, a)
	case !a.Open() && a.Boots.Started == m.BootID && m.BootID != "":
		return fmt.Sprintf("the attempt that ordered it is over (%s)", a)
	case !a.Open():
		return fmt.Sprintf("the latest attempt was over before (%s)", a)
	case a.State != attempt.Armed && a.State != attempt.Started:
		return fmt.Sprintf("the latest attempt is not armed (%s)", a)
	}
	if held := m.slot(st.Active); held.Content == report.Complete && held.Manifest.Image != a.Image {
		return fmt.Sprintf("%s, of image %s, and the latest attempt is for image %s (%s)", held, held.Manifest.Image,
			a.Image, a)
	}
	if a.State == attempt.Started && a.Boots.Started == m.BootID {
		return "" // Started has counted this boot
	}
	if a.Left() == 0 {
		return fmt.Sprintf("the latest attempt has had all of its boots (%s)", a)
	}
	return ""
}

// onlyChoice reports whether the slot that runs is what boots by itself, though the loader does not say what does:
// where others have changed the loader's files or variables. An install that was cut before its own confirm has no
// other slot, and no attempt; so it is taken where nothing boots by itself, or where that is not known.
func (m *Machine) onlyChoice(st bootloader.State, a *attempt.Attempt) bool {
	next, err := m.byItself()
	if err != nil || next.Stuck != "" {
		return a == nil && len(st.Bootable) < len(bootloader.Slots())
	}
	return next.Slot == st.Active
}

// byItself is the boot that comes once nothing is set to be tried, as the model says.
func (m *Machine) byItself() (next predict.Outcome, err error) {
	s, err := m.stage(bootloader.Manifest{})
	if err != nil {
		return next, err
	}
	for range maxTrials {
		if next, err = predict.Boot(s.disk, s.vars, s.fw); err != nil || next.Stuck == "" && !next.Trial {
			break
		}
	}
	return next, err
}

// maxTrials is more boots than anything that is armed takes.
const maxTrials = 12

// byHand is the attempt of a person who confirms what runs. It takes over what the one before it has still to undo.
func (m *Machine) byHand(st bootloader.State, runs report.Slot, before *attempt.Attempt) *attempt.Attempt {
	var marks []attempt.Mark
	if before != nil {
		marks = before.Marks
	}
	return &attempt.Attempt{
		ID: newID(), Kind: attempt.Upgrade, State: attempt.Started, From: st.Default, To: st.Active,
		Old: m.slot(st.Default).Version(), Version: runs.Version(), Image: runs.Manifest.Image,
		Reference: runs.Manifest.Reference, Marks: marks, Boots: attempt.Boots{Started: m.BootID},
		Begun: m.now().UTC().Truncate(time.Second),
	}
}

// notTheDefault is why no attempt may begin while a slot runs that is not the default.
func (m *Machine) notTheDefault(st bootloader.State) error {
	a, err := m.attempt()
	if err != nil {
		return err
	}
	if why := m.unordered(st, a); why != "" {
		return fmt.Errorf("slot %s runs and %s is the default; %s: %w", st.Active, st.Default, why, ErrUnordered)
	}
	return fmt.Errorf("slot %s runs and %s is the default: %w (confirm it, or reboot to fall back)", st.Active,
		st.Default, ErrTrial)
}
