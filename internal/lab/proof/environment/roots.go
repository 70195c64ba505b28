package environment

import (
	"bytes"
	"math/rand"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/proof"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Machines whose versions have their root in a partition of the slot. What boots there is a system only with its own
// root, whole, in the partition that the slot's manifest names: an initramfs goes that way.

// hasRoots reports which lives are of such machines: a third.
func hasRoots(life int) bool { return life%3 == 2 }

// rootDisturbances are of these machines alone, and drawn beside the others (see rootChanges).
func rootDisturbances() []disturbance {
	return []disturbance{
		{"the root of a slot overwritten", 0, nil, (*disturbed).rootOverwritten},
		{"the root of a slot copied over the other's", 0, nil, (*disturbed).rootCopied},
		{"the roots of another day", 0, nil, (*disturbed).otherRoots},
	}
}

// rootChanges are drawn for every third of these machines.
func (r *run) rootChanges(d *rand.Rand) (some []change) {
	n := len(rootDisturbances())
	if d.Intn(3) == 0 {
		some = append(some, change{len(r.kinds) - n + d.Intn(n), d.Int63()})
	}
	return some
}

// root is the partition that the manifest of a slot names for its root, as far as there is one.
func (m *machine) root(s bootloader.Slot) (upgrade.Device, bool) {
	f, err := m.files()
	if err != nil {
		return nil, false
	}
	data, err := f.ReadFile(s.File(bootloader.ManifestFile))
	if err != nil {
		return nil, false
	}
	man, err := bootloader.DecodeManifest(data)
	if err != nil || len(man.Images) != 1 || man.Images[0].Name != bootloader.RootImage {
		return nil, false
	}
	layout, err := partition.Read(m.disk)
	if err != nil {
		return nil, false
	}
	p, err := layout.ByGUID(man.Images[0].Partition)
	if err != nil {
		return nil, false
	}
	return partition.Section(m.disk, p), true
}

// hasRoot reports whether a slot has the root of a version, if versions of this machine have one.
func (m *machine) hasRoot(s bootloader.Slot, version string) bool {
	if !m.kit.Root {
		return true
	}
	p, ok := m.root(s)
	if !ok {
		return false
	}
	want := proof.RootOf(version)
	got := make([]byte, len(want))
	_, err := p.ReadAt(got, 0)
	return err == nil && bytes.Equal(got, want)
}

// half is a slot's half of the pair.
func (m *machine) half(s bootloader.Slot) (upgrade.Device, error) {
	return m.part(string(partition.Half(bootloader.RootImage, string(s))))
}

// rootOverwritten puts noise over a block of a root. Of the one that runs nothing is promised then.
func (d *disturbed) rootOverwritten() (string, error) {
	s := d.last.Slot.Other()
	p, err := d.half(s)
	if err != nil {
		return "", err
	}
	_, err = p.WriteAt(d.noise(512), int64(d.Intn(8))*512)
	return "slot " + string(s), err
}

func (d *disturbed) rootCopied() (string, error) {
	from := d.last.Slot
	return "from slot " + string(from), d.copyRoot(d.machine, from, from.Other())
}

// otherRoots are those that the pair had on another day.
func (d *disturbed) otherRoots() (string, error) {
	other, ok := d.anyDay()
	if !ok {
		return "", nil
	}
	for _, s := range bootloader.Slots() {
		if err := d.copyRoot(other.m, s, s); err != nil {
			return "", err
		}
	}
	return other.name, nil
}

func (d *disturbed) copyRoot(m *machine, from, to bootloader.Slot) error {
	in, err := m.half(from)
	if err != nil {
		return err
	}
	out, err := d.half(to)
	if err != nil {
		return err
	}
	b := make([]byte, len(proof.RootOf("")))
	if _, err := in.ReadAt(b, 0); err != nil {
		return err
	}
	_, err = out.WriteAt(b, 0)
	return err
}

// losesRoot is a version whose root is damaged between the read-back and the trial: its initramfs finds that, and never
// says a word. The loader does not look at a root, so it is tried as often as is counted.
func (j judge) losesRoot(c *machine, a attempt.Attempt, tries int) error {
	if c.keeps {
		return nil
	}
	p, ok := c.root(a.To)
	if !ok {
		return broken("what is armed has no root", "%s in slot %v", a.Version, a.To)
	}
	if _, err := p.WriteAt(make([]byte, 512), 0); err != nil {
		return broken("the root cannot be damaged", "%v", err)
	}
	want, got := 1, 0
	if c.kit.Loader != loaders.SystemdBoot {
		want = tries
	}
	for range want + 1 {
		if err := c.boot(); err != nil {
			return broken("a trial without its root, the model does not know", "%v", err)
		}
		if !c.last.Trial || c.last.Slot != a.To {
			break
		}
		if _, ok := c.runs(c.last); ok {
			return broken("a system runs without its root", "%v", told(c.last))
		}
		got++
	}
	if got != want && !(c.unrecorded && got < want) {
		return broken("a trial without its root is not tried as often as it should be", "%d times, want %d; then %v", got,
			want, told(c.last))
	}
	return j.fellBack(c, a, "a trial without its root")
}
