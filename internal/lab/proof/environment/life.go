package environment

import (
	"context"
	"fmt"
	"math/rand"
	"sync"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/lab/proof"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// day is a machine at one point of its life, healthy.
type day struct {
	name string
	m    *machine
}

// life is what became of one machine, day by day. Every environment starts from one of them.
type life struct {
	kit    *proof.Kit
	layout layout
	once   sync.Once
	days   []day
	err    error
}

// live makes the days, when they are first asked for.
func (l *life) live(ctx context.Context, seed int64) ([]day, error) {
	l.once.Do(func() { l.err = l.make(unrehearsed.Context(ctx), rand.New(rand.NewSource(seed))) })
	return l.days, l.err
}

func (l *life) make(ctx context.Context, r *rand.Rand) error {
	m := &machine{kit: l.kit, disk: &disk{Disk: disktest.New(l.layout.size+10*mib, 512)}, vars: &store{
		Memory: efivar.NewMemory(), readOnly: l.kit.Loader == loaders.GRUBBIOS, // which has none
	}}
	img, err := l.kit.Image("1.1.0")
	if err != nil {
		return err
	}
	backend, err := loaders.Named(l.kit.Loader)
	if err != nil {
		return err
	}
	o := upgrade.InstallOptions{Loader: backend, Partitions: l.layout.partitions(), Seed: "environment",
		Now: virtual.Now}
	if err := upgrade.Install(ctx, m.disk, img, o); err != nil {
		return fmt.Errorf("%v, %v: %w", l.kit.Loader, l.layout, err)
	}
	if !l.layout.ours {
		if err := l.layout.fill(m, r); err != nil {
			return fmt.Errorf("%v, %v: %w", l.kit.Loader, l.layout, err)
		}
	}
	for _, step := range l.steps(ctx, m) {
		if err := step.do(); err != nil {
			if len(l.days) == 0 {
				return fmt.Errorf("%v, %v: %s: %w", l.kit.Loader, l.layout, step.name, err)
			}
			return nil // the product does not go on with such a disk
		}
		l.days = append(l.days, day{step.name, m.clone()})
	}
	return nil
}

// step is one thing that happens to a machine.
type step struct {
	name string
	do   func() error
}

// steps are what happens to m, in order.
func (l *life) steps(ctx context.Context, m *machine) []step {
	return []step{
		{"installed", func() error { return m.next() }},
		{"upgrade armed", func() error { return m.apply(ctx, "1.1.1", upgrade.Options{}) }},
		{"trial", func() error { return m.next() }},
		{"confirmed", func() error { return m.confirm(ctx) }},
		{"runs it", func() error { return m.next() }},
		{"upgrade prepared", func() error { return m.prepare(ctx, "1.1.2", false) }},
		{"upgrade staged", func() error { return m.prepare(ctx, "1.1.3", true) }},
		{"upgrade of two tries armed", func() error {
			return m.apply(ctx, "1.1.4",
				upgrade.Options{Tries: 2, Preserve: true})
		}},
		{"its first trial", func() error { return m.next() }},
		{"its second trial", func() error { return m.next() }},
		{"it fell back", func() error { return m.next() }},
		{"upgrade that fails", func() error {
			if err := m.apply(ctx, "1.1.5", upgrade.Options{}); err != nil {
				return err
			}
			if err := m.next(); err != nil {
				return err
			}
			return m.with(func(s *upgrade.Machine) error { return s.Failed(ctx, "check net: no answer") })
		}},
		{"it failed", func() error { return m.next() }},
		{"the other slot runs again", func() error {
			if err := m.apply(ctx, "1.1.6", upgrade.Options{}); err != nil {
				return err
			}
			if err := m.next(); err != nil {
				return err
			}
			if err := m.confirm(ctx); err != nil {
				return err
			}
			return m.next()
		}},
		{"rollback armed", func() error {
			return m.with(func(s *upgrade.Machine) error { _, err := s.Rollback(ctx, upgrade.Options{}); return err })
		}},
		{"rollback's trial", func() error { return m.next() }},
		{"back again", func() error { return m.next() }},
		{"upgrade armed by the firmware", func() error {
			if l.kit.Loader != loaders.SystemdBoot {
				return m.apply(ctx, "1.1.7", upgrade.Options{Tries: 3})
			}
			return m.apply(ctx, "1.1.7", upgrade.Options{Way: "boot-next"})
		}},
		{"its trial", func() error { return m.next() }},
	}
}

// next boots, and does what every system does early in its boot.
func (m *machine) next() error {
	if err := m.boot(); err != nil {
		return err
	}
	if _, ok := m.runs(m.last); !ok {
		return fmt.Errorf("booted %v", m.last)
	}
	return m.with(func(s *upgrade.Machine) error { _, err := s.Started(context.Background()); return err })
}

// with opens the product on the machine as the running system would, and does something.
func (m *machine) with(do func(*upgrade.Machine) error) error {
	s, err := m.open()
	if err != nil {
		return err
	}
	return do(s)
}

func (m *machine) apply(ctx context.Context, version string, o upgrade.Options) error {
	img, err := m.kit.Image(version)
	if err != nil {
		return err
	}
	return m.with(func(s *upgrade.Machine) error { _, err := s.Apply(ctx, img, o); return err })
}

func (m *machine) prepare(ctx context.Context, version string, staged bool) error {
	img, err := m.kit.Image(version)
	if err != nil {
		return err
	}
	return m.with(func(s *upgrade.Machine) error {
		if staged {
			_, err = s.Stage(ctx, img, upgrade.Options{})
		} else {
			_, err = s.Prepare(ctx, img, upgrade.Options{})
		}
		return err
	})
}

func (m *machine) confirm(ctx context.Context) error {
	return m.with(func(s *upgrade.Machine) error { _, err := s.Confirm(ctx, upgrade.Options{}); return err })
}
