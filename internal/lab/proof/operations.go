package proof

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// label says what a boot started, in the words of the operation that was cut.
type label byte

const (
	none     label = 1 << iota // nothing: before an install is complete
	theOld                     // the default of before, by itself
	theArmed                   // what was armed before, as a trial
	theTrial                   // what the operation arms, as a trial
	theNew                     // what the operation makes the default, by itself
)

func (l label) String() string {
	var s []string
	for i, name := range []string{"nothing", "the default", "the trial that was armed before", "the trial",
		"the new default"} {
		if l&(1<<i) != 0 {
			s = append(s, name)
		}
	}
	return strings.Join(s, " or ")
}

// outcome is how the end of an operation looks.
type outcome int

const (
	stays   outcome = iota // the default boots as before
	arms                   // the next boot is the trial
	changes                // the default is another one
)

// operation is one row of the table in docs/architecture.md.
type operation struct {
	name   string
	starts []start
	do     func(m *machine) error
	end    outcome
	commit string                            // the step in which the change to the end happens; "" when nothing changes
	what   func(m *machine) (*system, error) // what is armed, or becomes the default; nil for stays
	killed bool                              // its recording is that of two programs
	tries  int                               // of a trial that it arms; 0 is 1
	// firmware says that firmware and loader do it, before any system runs.
	firmware bool
	disarms  bool // takes back what is armed, in the step "disarm" or "failed"
	long     bool // left out of the short run
	wipes    bool // may write to EPHEMERAL
	noMeta   bool // META is destroyed at the start
	loader   bool // replaces the loader itself
	leaves   bool // or is about to: the old one is in its place to the end
	byWay    bool // the trial is armed in another way than by a one-shot entry, so armedSlot does not see it
}

// target is what an image becomes in the slot that does not run.
func imageOf(version string) func(*machine) (*system, error) {
	return func(m *machine) (*system, error) {
		img, err := m.kit.Image(version)
		if err != nil {
			return nil, err
		}
		to := m.last.Slot.Other()
		if to == bootloader.None {
			to = bootloader.A // an install
		}
		return m.kit.system(to, img)
	}
}

func otherSlot(m *machine) (*system, error)  { return m.holds(m.last.Slot.Other()) }
func activeSlot(m *machine) (*system, error) { return m.holds(m.last.Slot) }

const next = "1.2.2" // the version that operations move to

func upgradeTo(version string) func(*machine) error {
	return func(m *machine) error { return m.upgrade(version, m.options(false)) }
}

// armed is a machine with a trial of version 1.2.0 armed.
var armed = start{"armed", func(m *machine, t bootloader.Slot) error { return m.upgrade("1.2.0", m.options(false)) }}

// onTrial is a machine in the trial of version 1.2.0, which has said that it started.
var onTrial = start{"on trial", func(m *machine, t bootloader.Slot) error { return m.trial(t, "1.2.0") }}

// then adds something to a start.
func (s start) then(name string, do func(m *machine, t bootloader.Slot) error) start {
	return start{s.name + ", " + name, func(m *machine, t bootloader.Slot) error {
		if err := s.make(m, t); err != nil {
			return err
		}
		return do(m, t)
	}}
}

// freshTrial is a machine that just booted a trial and has not said so yet.
func freshTrial(preserve bool) func(*machine, bootloader.Slot) error {
	return func(m *machine, t bootloader.Slot) error {
		if err := m.upgrade("1.2.0", m.options(preserve)); err != nil {
			return err
		}
		return m.boot()
	}
}

func boots(n int) func(*machine, bootloader.Slot) error {
	return func(m *machine, _ bootloader.Slot) error {
		for range n {
			if err := m.boot(); err != nil {
				return err
			}
		}
		return nil
	}
}

func (m *machine) rollback() error {
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.Rollback(m.context(), m.options(false))
		return err
	})
}

// goBack is a rollback by order, to what failed its trial or never had one, too.
func (m *machine) goBack() error {
	o := m.options(false)
	o.Force = true
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.Rollback(m.context(), o)
		return err
	})
}

func (m *machine) failed(reason string) error {
	return m.with(func(s *upgrade.Machine) error { return s.Failed(m.context(), reason) })
}

// started is the operation Started, as a step of that name.
func startedStep(m *machine) error {
	m.disk.Step("started")
	_, err := m.started()
	return err
}

// disarm takes back what is armed, by the loader's backend alone.
func disarm(m *machine) error {
	m.disk.Step("disarm")
	_, l, err := m.loader(slotZones...)
	if err != nil {
		return err
	}
	return l.Disarm()
}

// loader opens the boot file system and the loader on it.
func (m *machine) loader(zones ...string) (*bootfs.FS, bootloader.Bootloader, error) {
	f, err := m.fs(zones...)
	if err != nil {
		return nil, nil, err
	}
	layout, err := partition.Read(m.disk)
	if err != nil {
		return nil, nil, err
	}
	p, err := layout.Find("EFI")
	if err != nil {
		return nil, nil, err
	}
	guid, err := efivar.ParseGUID(p.GUID.String())
	if err != nil {
		return nil, nil, err
	}
	at := efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid}
	if m.kit.grub() {
		l, err := grub.New(grub.Config{FS: f, Vars: m.vars, Partition: at, Cmdline: m.last.Cmdline})
		return f, l, err
	}
	l, err := sdboot.New(sdboot.Config{FS: f, Vars: m.vars, Partition: at})
	return f, l, err
}

// confirmedByLoader leaves a trial that the loader has confirmed and META has not heard of.
func confirmedByLoader(m *machine, t bootloader.Slot) error {
	_, l, err := m.loader(slotZones...)
	if err != nil {
		return err
	}
	return l.Confirm(t)
}

func withoutMeta(m *machine, _ bootloader.Slot) error { return m.destroyMeta() }

// killed runs the upgrade up to the nth flush and lets the program die there; then runs it again in the same boot. What
// the first run wrote is on its way to the device and not flushed.
func killed(n int) func(m *machine) error {
	return func(m *machine) error {
		c := m.clone()
		c.disk.Record()
		if err := c.upgrade("1.2.1", c.options(false)); err != nil {
			return err
		}
		trace := c.disk.Trace()
		flushes := dirtyFlushes(trace)
		if n >= len(flushes) {
			return fmt.Errorf("the upgrade has %d flushes", len(flushes))
		}
		for _, o := range trace.Ops[:flushes[n]] {
			m.disk.Step("killed in " + o.Step)
			if err := m.replay(o); err != nil {
				return err
			}
		}
		return m.upgrade(next, m.options(false))
	}
}

// dirtyFlushes are the flushes with something to flush.
func dirtyFlushes(t *disktest.Trace) (at []int) {
	dirty := false
	for i, o := range t.Ops {
		switch {
		case o.Action == disktest.Write:
			dirty = true
		case o.Action == disktest.Flush && dirty:
			at, dirty = append(at, i), false
		}
	}
	return at
}

func (m *machine) replay(o disktest.Op) error {
	switch o.Action {
	case disktest.Flush:
		return m.disk.Sync()
	case disktest.Write:
		_, err := m.disk.WriteAt(o.Data, o.Off)
		return err
	}
	name, err := efivar.ParseName(o.Key)
	if err != nil {
		return err
	}
	if o.Value == nil {
		return m.vars.Delete(name)
	}
	v, err := efivar.ParseVariable(o.Value)
	if err != nil {
		return err
	}
	return m.vars.Write(name, v)
}

// operations is the table. GRUB on UEFI differs from GRUB on BIOS in how it is started alone, so it has what that
// touches.
func (k *Kit) operations() []operation {
	switch table := k.table(); k.Name() {
	case rooted:
		return rootedOperations(table)
	case loaders.GRUBBIOS:
		return grubOperations(withTries(table))
	case loaders.GRUBUEFI:
		return slices.DeleteFunc(append(table, bootItself()), func(o operation) bool {
			return !slices.Contains([]string{"install", "upgrade", "confirm", "boot", "replace the loader",
				"try the loader", "a loader that does not start"}, o.name)
		})
	case loaders.GRUB: // it differs in nothing but that two kinds of machines start it
		return slices.DeleteFunc(append(table, bootItself()), func(o operation) bool {
			return !slices.Contains([]string{"install", "upgrade", "confirm", "boot"}, o.name)
		})
	default:
		return sdbootOperations(withTries(table))
	}
}

// table is what all loaders have.
func (k *Kit) table() []operation {
	idle := []start{targetEmpty, targetComplete, targetPartial, targetDamaged, fellBack, preparedEarlier, metaHalf}
	trialOf := func(name string, preserve bool) start { return start{name, freshTrial(preserve)} }
	table := []operation{
		{name: "install", starts: []start{{"empty disk", nil}}, end: changes, commit: "*", what: imageOf("1.1.0"),
			do: func(m *machine) error { return m.install("1.1.0", upgrade.InstallOptions{}) }},
		{name: "upgrade", starts: append(slices.Clone(idle), armed), end: arms, commit: "arm", what: imageOf(next),
			do: upgradeTo(next)},
		{name: "prepare", starts: append(slices.Clone(idle[:4]), armed), end: stays, disarms: true,
			do: func(m *machine) error { return m.prepare(next) }},
		{name: "arm", starts: []start{
			targetEmpty.then("prepared", func(m *machine, _ bootloader.Slot) error { return m.prepare(next) }),
			targetComplete.then("prepared", func(m *machine, _ bootloader.Slot) error { return m.prepare(next) }),
		}, end: arms, commit: "arm", what: imageOf(next), do: func(m *machine) error {
			return m.with(func(s *upgrade.Machine) error { _, err := s.Arm(m.context(), m.options(false)); return err })
		}},
		{name: "disarm", starts: []start{armed}, end: stays, disarms: true, do: disarm},
		{name: "rollback", starts: []start{targetComplete}, end: arms, commit: "arm", what: otherSlot,
			do: (*machine).rollback},
		{name: "rollback of an armed upgrade", starts: []start{armed}, end: stays, disarms: true,
			do: (*machine).rollback},
		{name: "rollback of a trial", starts: []start{onTrial}, end: stays, disarms: true, do: (*machine).rollback},
		{name: "started, with wipe", starts: []start{trialOf("fresh trial", false)}, end: stays, wipes: true,
			do: startedStep},
		{name: "started, preserve", starts: []start{trialOf("fresh trial", true)}, end: stays, do: startedStep},
		{name: "failed", starts: []start{onTrial}, end: stays, disarms: true, do: func(m *machine) error {
			m.disk.Step("failed")
			return m.failed("check disk: no space")
		}},
		{name: "settle", starts: []start{
			armed.then("never started", boots(2)),
			onTrial.then("died", boots(1)),
			onTrial.then("failed", func(m *machine, _ bootloader.Slot) error {
				if err := m.failed("no space"); err != nil {
					return err
				}
				return m.boot()
			}),
			{"prepared, then off", func(m *machine, _ bootloader.Slot) error {
				if err := m.prepare("1.2.0"); err != nil {
					return err
				}
				return m.boot()
			}},
			onTrial.then("confirmed by the loader alone", func(m *machine, t bootloader.Slot) error {
				if err := confirmedByLoader(m, t); err != nil {
					return err
				}
				return m.boot()
			}),
		}, end: stays, do: startedStep},
		{name: "confirm", starts: []start{
			onTrial,
			targetComplete.then("rollback on trial", func(m *machine, t bootloader.Slot) error {
				if err := m.rollback(); err != nil {
					return err
				}
				return m.next(t)
			}),
			{"trial of an older version", func(m *machine, t bootloader.Slot) error {
				o := m.options(false)
				o.Force = true // a downgrade
				if err := m.upgrade("1.0.9", o); err != nil {
					return err
				}
				return m.next(t)
			}},
		}, end: changes, commit: "confirm", what: activeSlot, do: (*machine).confirm},
		{name: "confirm with META destroyed", starts: []start{onTrial.then("META destroyed", withoutMeta)},
			end: changes, commit: "confirm", what: activeSlot, do: (*machine).confirm, noMeta: true},
		{name: "META update", starts: []start{targetComplete, metaHalf, armed, onTrial}, end: stays,
			do: func(m *machine) error {
				m.disk.Step("META")
				store, err := m.meta()
				if err != nil {
					return err
				}
				return store.Set(0x0a, []byte("a value of the operator"))
			}},
		{name: "META reset", starts: []start{armed.then("META destroyed", withoutMeta)}, end: stays, noMeta: true,
			do: func(m *machine) error {
				m.disk.Step("META")
				p, err := m.part("META")
				if err != nil {
					return err
				}
				return meta.Format(p)
			}},
	}
	if !k.byBIOS() {
		table = append(table, replacements()...)
		if k.Shims {
			table = append(table, behindShims()...)
		}
	}
	for n := range 8 {
		table = append(table, operation{
			name: "upgrade after one that was killed", killed: true, long: n != 3,
			starts: []start{{fmt.Sprintf("target complete, killed before flush %d", n+1), targetComplete.make}},
			end:    arms, commit: "arm", what: imageOf(next), do: killed(n),
		})
	}
	return table
}
