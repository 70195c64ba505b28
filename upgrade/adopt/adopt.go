// Package adopt looks at a disk that another system laid out, and says what of it a Pawl machine could keep.
//
// Start with Look. It tells disks of Talos (by GRUB or systemd-boot), of Kairos, and those on which systemd-boot was
// installed by bootctl, and holds each partition against what Pawl needs: a boot file system with room for two slots,
// a META that can be read or room for one, and the system's own partitions, which stay as they are.
//
// It only reads. It moves nothing, and judges nothing that is inside of other file systems than the boot file system.
package adopt

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// System is what laid a disk out.
type System string

// Systems that are told apart.
const (
	Pawl     System = "Pawl"
	TalosUKI System = "Talos with systemd-boot"
	Talos    System = "Talos with GRUB"
	Kairos   System = "Kairos"
	Bootctl  System = "systemd-boot, as bootctl installs it"
	Unknown  System = "a system that is not known"
)

// Plan is what could be kept of a disk.
type Plan struct {
	System System
	Parts  []Part   // in the order of the table
	Needs  []string // what Pawl has to add or to change, one sentence each
	Not    []string // why the disk cannot be taken over as it is; nil: it can
	Room   int64    // bytes that a slot could have; 0 where there is no boot file system for two
}

// Part is one partition, and what becomes of it.
type Part struct {
	partition.Partition
	Keep bool   // its content stays
	Text string // what it is, and why
}

// leastSlot is less than any kernel with its initramfs has, in bytes.
const leastSlot = 32 << 20

// Look reads a disk. A disk without a partition table that can be read is an error of package partition.
func Look(dev partition.Device, labels partition.Labels) (Plan, error) {
	l, err := partition.Read(dev)
	if err != nil {
		return Plan{}, fmt.Errorf("look at what is to be adopted: %w", err)
	}
	k := &look{dev: dev, layout: l, labels: labels}
	k.openBoot()
	k.plan.System = k.system()
	if k.plan.System == Pawl {
		k.not("it is a Pawl disk already")
		return k.plan, nil
	}
	for _, p := range l.Partitions {
		keep, text := k.part(p)
		k.plan.Parts = append(k.plan.Parts, Part{p, keep, text})
	}
	for _, problem := range l.Problems {
		k.not("the partition table: " + problem + " (repair it first)")
	}
	k.bootNeeds()
	k.metaNeeds()
	return k.plan, nil
}

// look is a disk that is looked at.
type look struct {
	dev    partition.Device
	layout partition.Layout
	labels partition.Labels
	esp    partition.Partition
	boot   *bootfs.FS // nil: there is none that can be read
	noBoot error
	plan   Plan
}

func (k *look) not(text string)  { k.plan.Not = append(k.plan.Not, text) }
func (k *look) need(text string) { k.plan.Needs = append(k.plan.Needs, text) }

// openBoot finds the EFI partition: by its role, or else by its type where there is one only.
func (k *look) openBoot() {
	var err error
	if k.esp, err = k.labels.Find(k.layout, partition.EFI); err != nil {
		var all []partition.Partition
		for _, p := range k.layout.Partitions {
			if p.Type == partition.TypeESP {
				all = append(all, p)
			}
		}
		if len(all) != 1 {
			k.noBoot = fmt.Errorf("it has %d EFI partitions, want one", len(all))
			return
		}
		k.esp = all[0]
	}
	k.boot, k.noBoot = bootfs.Open(partition.Section(k.dev, k.esp), bootfs.Options{Zones: bootloader.Zones()})
}

// has reports whether the boot file system has a file or a directory.
func (k *look) has(path string) bool {
	if k.boot == nil {
		return false
	}
	_, err := k.boot.Stat(path)
	return err == nil
}

// ukis are the unified kernel images that systemd-boot finds by itself.
func (k *look) ukis() (names []string) {
	if k.boot == nil {
		return nil
	}
	entries, err := k.boot.ReadDir("EFI/Linux")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasSuffix(strings.ToLower(e.Name), ".efi") {
			names = append(names, e.Name)
		}
	}
	return names
}

// system tells what laid the disk out.
func (k *look) system() System {
	label := func(name string) bool { _, err := k.layout.Find(name); return err == nil }
	var cos int
	for _, p := range k.layout.Partitions {
		if strings.HasPrefix(k.volume(p), "COS_") {
			cos++
		}
	}
	talos := label("META") && label("STATE") && label("EPHEMERAL")
	switch {
	case k.has(bootloader.A.Dir()) || k.has(bootloader.B.Dir()):
		return Pawl
	case cos > 0:
		return Kairos
	case talos && label("BOOT"):
		return Talos
	case talos && k.has("EFI/BOOT"):
		return TalosUKI
	case k.has("loader/loader.conf") || k.has("EFI/systemd"):
		return Bootctl
	}
	return Unknown
}

// volume is the name that an ext2, 3 or 4 has in its superblock; empty where there is none.
func (k *look) volume(p partition.Partition) string {
	b := make([]byte, 2048)
	if _, err := partition.Section(k.dev, p).ReadAt(b, 0); err != nil || b[1080] != 0x53 || b[1081] != 0xef {
		return ""
	}
	name, _, _ := strings.Cut(string(b[1144:1160]), "\x00")
	return name
}

// part says what becomes of a partition.
func (k *look) part(p partition.Partition) (keep bool, text string) {
	volume := k.volume(p)
	switch label := p.Label; {
	case k.boot != nil && p.Number == k.esp.Number:
		return true, "the boot file system; what is in it stays beside the slots, but the loader and its settings"
	case p.Number == k.esp.Number && p.Type == partition.TypeESP:
		return false, "an EFI partition that cannot be used: " + k.noBoot.Error()
	case p.Type == partition.TypeBIOS:
		return false, "GRUB on BIOS: written anew with `--loader grub-bios`, else not used"
	case label == k.labels.Of(partition.Meta):
		return k.meta(p)
	case label == k.labels.Of(partition.State):
		return true, "the system's own: kept by every upgrade"
	case label == k.labels.Of(partition.Ephemeral):
		return true, "the system's own: wiped by an upgrade that does not preserve it"
	case label == "BOOT" && k.plan.System == Talos:
		return false, "kernels and GRUB in an XFS, which Pawl does not read: the versions in it boot no more"
	case volume == "COS_STATE", volume == "COS_RECOVERY":
		return false, "images of systems in an ext file system: Pawl's loaders do not start them"
	case volume != "":
		return true, fmt.Sprintf("an ext file system %q: Pawl does not touch it", volume)
	}
	return true, "Pawl does not touch it"
}

// meta says what becomes of META.
func (k *look) meta(p partition.Partition) (keep bool, text string) {
	values, err := meta.Read(partition.Section(k.dev, p))
	switch {
	case errors.Is(err, meta.ErrDamaged):
		return false, "META: neither of its copies is valid in Talos' present format; its values cannot be kept"
	case err != nil:
		return false, "META: " + err.Error()
	}
	var tags []string
	for _, tag := range values.Tags() {
		tags = append(tags, fmt.Sprintf("0x%02x", tag))
	}
	if _, err := values.Value(meta.TagStagedImage); err == nil {
		k.not("an upgrade of Talos is staged in META: let it happen, or cancel it")
	}
	return true, fmt.Sprintf("META, in the format that Pawl has; values kept: %s", strings.Join(tags, " "))
}

// bootNeeds holds the boot file system against what two slots need.
func (k *look) bootNeeds() {
	if k.boot == nil {
		k.not("there is no boot file system to use: " + k.noBoot.Error())
		return
	}
	k.plan.Room = k.boot.Half()
	if k.plan.Room < leastSlot {
		k.not(fmt.Sprintf("the boot file system has room for two slots of %d bytes each, and a version needs at least %d",
			k.plan.Room, leastSlot))
	}
	switch err := k.boot.Apart(bootloader.LoaderDir); {
	case errors.Is(err, bootfs.ErrShared):
		k.need(bootloader.LoaderDir + " shares blocks of the file system with other files: the loader is not replaced by " +
			"later versions there")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		k.not(bootloader.LoaderDir + ": " + err.Error())
	}
	if problems, err := k.boot.Check(); err != nil {
		k.not("the boot file system: " + err.Error())
	} else if len(problems) > 0 {
		k.need(fmt.Sprintf("the boot file system has %d faults, such as: %v (fsck.vfat first)", len(problems), problems[0]))
	}
	if names := k.ukis(); len(names) > 0 {
		k.need("systemd-boot lists what lies in EFI/Linux by itself, and would boot it where Pawl's default is lost: " +
			strings.Join(names, ", "))
	}
	if k.esp.Label != k.labels.Of(partition.EFI) {
		k.need(fmt.Sprintf("the EFI partition is labelled %q: --label EFI=%s", k.esp.Label, k.esp.Label))
	}
	if k.plan.System == Talos {
		k.not("the versions in BOOT cannot boot beside Pawl's loader, so nothing would be left to fall back to")
	}
	k.need("the loader in EFI/BOOT, loader.conf and the entries of the slots are Pawl's")
}

// metaNeeds says whether there is a META, or room for one.
func (k *look) metaNeeds() {
	p, err := k.labels.Find(k.layout, partition.Meta)
	switch {
	case err == nil && k.layout.Bytes(p) < meta.Size:
		k.not(fmt.Sprintf("META has %d bytes, want %d", k.layout.Bytes(p), meta.Size))
	case err == nil:
	case errors.Is(err, partition.ErrNotFound):
		spec := partition.Spec{Label: k.labels.Of(partition.Meta), Type: partition.TypeLinux, Size: 1 << 20, GUID: uuid.New()}
		if _, err := partition.Plan(&k.layout, k.dev.Size(), k.dev.SectorSize(), []partition.Spec{spec}); err != nil {
			k.not("there is no META, and no room for one: " + err.Error())
			return
		}
		k.need("a partition META of 1 MiB, in free room of the disk")
	default:
		k.not("META: " + err.Error())
	}
}
