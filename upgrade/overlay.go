package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/internal/foretell"
	"github.com/pawl-os/pawl/upgrade/report"
)

// outvoted refuses to confirm a slot where the other one would boot all the same, as the model says: something has come
// since it was armed that decides before the loader does. What the model does not know stops no confirm.
func (m *Machine) outvoted(running report.Slot) error {
	s, err := m.stage(running.Manifest)
	if err != nil {
		return nil
	}
	sys, err := s.open(m.Version)
	if err != nil {
		return nil
	}
	if err := sys.Loader.Confirm(running.Slot); err != nil {
		return nil // so does the real one, and says it
	}
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	if err != nil || b.Stuck != "" || b.Slot != running.Slot.Other() {
		return nil
	}
	return fmt.Errorf("once slot %v is confirmed, the next boot would end in %s all the same (%s Mend that, and "+
		"confirm again): %w",
		running.Slot, ending(b), strings.Join(b.Why, " "), ErrRehearsal)
}

// stage is where a machine is played: copies that keep what is written in memory.
type stage struct {
	m       *Machine // the real one
	disk    *predict.Overlay
	vars    *efivar.Memory
	meta    *meta.Store // nil where META cannot be read
	cmdline string      // of the boot that it is in
	count   int         // boots that were played
	fw      predict.Options
	good    string              // directory of files that are taken to load, in lower case; "" for none
	target  bootloader.Manifest // what is tried
	unsure  *[]string           // what was taken to be signed
}

// stage returns a copy of the machine, in the boot that it is in.
func (m *Machine) stage(target bootloader.Manifest) (*stage, error) {
	if m.Disk == nil {
		return nil, fmt.Errorf("the disk as a whole is not known: %w", errUnrehearsed)
	}
	vars, err := predict.Variables(m.Vars)
	if err != nil {
		return nil, err
	}
	fw, err := foretell.Modelled(m.backend, m.Disk, vars)
	if err != nil {
		return nil, err
	}
	s := &stage{m: m, disk: predict.NewOverlay(m.Disk), vars: vars, cmdline: m.Cmdline, fw: fw, target: target,
		unsure: new([]string)}
	s.fw.Skim, s.fw.Explain, s.fw.Verdicts = true, true, new(predict.Verdicts)
	if v, err := meta.Read(m.Meta); err == nil { // else it is as damaged for what is played
		s.meta = meta.Memory(v)
	}
	return s, nil
}

func (s *stage) clone() *stage {
	c := *s
	c.disk, c.vars = s.disk.Clone(), s.vars.Clone()
	if s.meta != nil {
		c.meta = s.meta.Clone()
	}
	return &c
}

// open opens the machine as the system that runs there would. version is what that system says of itself.
func (s *stage) open(version string) (*Machine, error) {
	id := cmp.Or(s.m.BootID, "rehearsal")
	if s.count > 0 {
		id = fmt.Sprintf("%s+%d", id, s.count)
	}
	return OpenDevice(s.disk, OpenOptions{
		Loaders: []bootloader.Backend{s.m.backend}, Labels: s.m.Labels, Vars: s.vars, Gone: s.m.Gone,
		Cmdline: &s.cmdline, BootID: id, Version: version, Release: os.DevNull, Way: s.m.Way, Now: s.m.config.Now,
		memory: s.meta,
	})
}

// boots plays n boots, each of which has to start that slot, on trial or by itself.
func (s *stage) boots(want bootloader.Slot, trial bool, n int) error {
	for range n {
		s.fw.Good = nil
		if s.good != "" {
			s.fw.Good = func(path string) bool { return strings.HasPrefix(strings.ToLower(path), s.good) }
		}
		s.count++
		b, err := predict.Boot(s.disk, s.vars, s.fw)
		if err != nil {
			return err
		}
		for _, text := range b.Unsure {
			if !slices.Contains(*s.unsure, text) {
				*s.unsure = append(*s.unsure, text)
			}
		}
		if got, must := ending(b), ending(predict.Outcome{Slot: want, Trial: trial}); got != must {
			return fmt.Errorf("boot %d would end in %s, and has to end in %s (%s): %w", s.count, got, must,
				strings.Join(b.Why, " "), ErrRehearsal)
		}
		s.cmdline = b.Cmdline
	}
	return nil
}

// stuck reports whether the next boot starts nothing.
func (s *stage) stuck() (bool, error) {
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	return b.Stuck != "", err
}

// refusal is why the next boot, with what is armed as it is, does not end in that slot; "" where it does, or where that
// is not known.
func (s *stage) refusal(to bootloader.Slot) string {
	s.fw.Good = nil
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	if err != nil || b.Slot == to {
		return ""
	}
	why := strings.Join(b.Why, " ")
	return strings.ToValidUTF8(why[:min(len(why), mostForeseen)], "")
}

const mostForeseen = 400 // bytes, of META's room

// ending says where a boot ends.
func ending(b predict.Outcome) string {
	switch {
	case b.Stuck != "":
		return "nothing that runs: " + b.Stuck
	case b.Slot == bootloader.None:
		return b.Path
	case b.Trial:
		return fmt.Sprintf("slot %v, on trial", b.Slot)
	}
	return fmt.Sprintf("slot %v, by itself", b.Slot)
}

// started plays a boot and what its system, which is returned, does early.
func (s *stage) started(ctx context.Context, want bootloader.Slot, trial bool, version string) (*Machine, Boot, error) {
	if err := s.boots(want, trial, 1); err != nil {
		return nil, Boot{}, err
	}
	sys, err := s.open(version)
	if err != nil {
		return nil, Boot{}, err
	}
	b, err := sys.Started(ctx)
	return sys, b, err
}
