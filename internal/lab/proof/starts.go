package proof

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// Files of others on the boot file system: they stay as they are whatever happens to the slots.
var others = map[string][]byte{
	"EFI/vendor/tool.efi":   pattern("vendor's tool", 9000),
	"EFI/vendor/notes.txt":  pattern("notes", 300),
	"System Volume/log.bin": pattern("log", 5000),
}

func pattern(name string, n int) []byte {
	return bytes.Repeat([]byte(name+". "), n)[:n]
}

// blank is a machine with an empty disk, never switched on.
func blank(kit *Kit) *machine {
	return newMachine(kit, disktest.New(kit.Size, 512), efivar.NewMemory())
}

func (m *machine) install(version string, o upgrade.InstallOptions) error {
	img, err := m.kit.Image(version)
	if err != nil {
		return err
	}
	if o.Loader, err = loaders.Named(m.kit.Loader); err != nil {
		return err
	}
	o.Partitions, o.Seed, o.Now, o.Progress = m.kit.Partitions(), "proof", virtual.Now, m.step
	return upgrade.Install(m.context(), m.device(), img, o)
}

// base is a machine that runs version 1 from a slot, which is the default; the other slot is empty. Files of others are
// on the boot file system, and the other partitions hold something.
func base(kit *Kit, side bootloader.Slot) (*machine, error) {
	m := blank(kit)
	if err := m.install("1.1.0", upgrade.InstallOptions{}); err != nil {
		return nil, err
	}
	if err := m.fillOthers(); err != nil {
		return nil, err
	}
	if kit.grub() {
		lies := map[string]int64{}
		for _, path := range []string{trialBlock, defaultBlock(0), defaultBlock(1)} {
			at, err := m.sector(path)
			if err != nil {
				return nil, err
			}
			lies[path] = at
		}
		m.lies = lies
	}
	if err := m.next(bootloader.A); err != nil {
		return nil, err
	}
	if side == bootloader.A {
		return m, nil
	}
	if err := m.moveTo(bootloader.B, "1.1.1"); err != nil {
		return nil, err
	}
	return m, m.empty(bootloader.A)
}

func (m *machine) fillOthers() error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	for _, dir := range []string{"EFI/vendor", "System Volume"} {
		if err := f.Mkdir(dir); err != nil {
			return err
		}
	}
	for name, data := range others {
		if err := f.WriteFile(name, data); err != nil {
			return err
		}
	}
	for _, label := range []string{"BIOS", "STATE", "EPHEMERAL"} {
		if label == "BIOS" && m.kit.byBIOS() {
			continue // GRUB itself is there
		}
		p, err := m.part(label)
		if err != nil {
			return err
		}
		for _, at := range []int64{0, p.Size() - 8192} {
			if _, err := p.WriteAt(pattern("data of "+label, 8192), at); err != nil {
				return err
			}
		}
	}
	return m.disk.Sync()
}

// moveTo upgrades to a version, boots it, confirms it and boots again.
func (m *machine) moveTo(s bootloader.Slot, version string) error {
	if err := m.trial(s, version); err != nil {
		return err
	}
	if err := m.confirm(); err != nil {
		return err
	}
	return m.next(s)
}

// trial upgrades to a version and boots it.
func (m *machine) trial(s bootloader.Slot, version string) error {
	if err := m.upgrade(version, m.options(false)); err != nil {
		return err
	}
	return m.next(s)
}

// empty clears a slot that does not run, as the step "clear" does.
func (m *machine) empty(s bootloader.Slot) error {
	f, loader, err := m.loader(slotZones...)
	if err != nil {
		return err
	}
	if err := loader.Withdraw(s); err != nil {
		return err
	}
	return f.Clear(s.Dir())
}

// start makes a machine in a state. Each begins with base, so that target is the empty slot.
type start struct {
	name string
	make func(m *machine, target bootloader.Slot) error
}

// The states of a machine that runs its default with nothing armed; they differ in what the target holds and in the
// attempt on record.
var (
	targetEmpty    = start{"target empty", func(*machine, bootloader.Slot) error { return nil }}
	targetComplete = start{"target complete", func(m *machine, t bootloader.Slot) error { return m.oldTarget(t) }}
	targetPartial  = start{"target partial", func(m *machine, t bootloader.Slot) error {
		if err := m.oldTarget(t); err != nil {
			return err
		}
		return m.cut("1.2.0", "complete", 3) // the new files are there, the manifest is not
	}}
	targetDamaged = start{"target damaged", func(m *machine, t bootloader.Slot) error {
		if err := m.oldTarget(t); err != nil {
			return err
		}
		f, err := m.fs(slotZones...)
		if err != nil {
			return err
		}
		return spoil(f, m, t)
	}}
	fellBack = start{"fell back before", func(m *machine, t bootloader.Slot) error {
		if err := m.trial(t, "1.2.0"); err != nil {
			return err
		}
		return m.next(t.Other())
	}}
	preparedEarlier = start{"prepared in an earlier boot", func(m *machine, t bootloader.Slot) error {
		if err := m.prepare("1.2.0"); err != nil {
			return err
		}
		return m.boot()
	}}
	metaHalf       = start{"META half changed", func(m *machine, t bootloader.Slot) error { return m.tearMeta() }}
	foreignDefault = start{"LoaderEntryDefault set", setForeignDefault} // systemd-boot
)

// oldTarget leaves a complete, older version in the target, which was the default once.
func (m *machine) oldTarget(t bootloader.Slot) error {
	if err := m.moveTo(t, "1.1.2"); err != nil {
		return err
	}
	return m.moveTo(t.Other(), "1.1.3")
}

func (m *machine) prepare(version string) error {
	img, err := m.kit.Image(version)
	if err != nil {
		return err
	}
	return m.with(func(s *upgrade.Machine) error {
		_, err := s.Prepare(m.context(), img, m.options(false))
		return err
	})
}

// cut lets an upgrade run until n writes of a step have arrived, then cuts the power and boots.
func (m *machine) cut(version, step string, n int) error {
	m.disk.Record()
	c := m.clone()
	c.disk.Record()
	if err := c.upgrade(version, c.options(false)); err != nil {
		return err
	}
	trace := c.disk.Trace()
	for i, o := range trace.Ops {
		if o.Step != step {
			continue
		}
		if n--; n > 0 {
			continue
		}
		left := trace.After(i + 1)
		vars, err := efivar.LoadMemory(left.Atomics())
		if err != nil {
			return err
		}
		boots, lies := m.boots, m.lies
		*m = *newMachine(m.kit, left, vars)
		m.boots, m.lies = boots, lies
		if err := m.boot(); err != nil {
			return err
		}
		_, err = m.started()
		return err
	}
	return fmt.Errorf("the upgrade has no such write in step %s", step)
}
