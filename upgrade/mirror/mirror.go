// Package mirror keeps a second boot file system in step with a machine's first, so that the machine starts when the
// first is gone.
//
// Start with [Lay] and [Make], which make one on a disk and declare it in META; then [Keep] after each confirm and in
// every start, and [Look] to judge. Whoever works on the first one needs to know nothing of it.
//
// The mirror holds all files of the first boot file system but those of the slot that is not the default, as they would
// be with nothing armed: it starts the default and nothing else. What names the first one's partition names the
// mirror's there. A file of its own ([bootloader.MirrorFile]) says whose mirror it is.
//
// The package guarantees that nothing is written to the first boot file system, and that a cut at any write leaves a
// mirror that starts the version that it held before, or the new one, or one without a loader, which firmware passes
// over and Keep makes again. Nothing is written to a mirror that started this boot: it may be all that is left.
//
// It mirrors nothing but the boot file system: not META, not the images of a slot. See docs/decisions/0018-mirror.md.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/upgrade"
)

// Errors that callers act on.
var (
	// ErrNone is returned when no mirror is declared. Do: nothing, or make one.
	ErrNone = errors.New("no second boot file system is declared")
	// ErrGone is returned when the mirror that META declares is on no disk that can be read. Do: attach its disk again,
	// or make another one.
	ErrGone = errors.New("the second boot file system is gone")
	// ErrUnfit is returned when a machine cannot have a mirror, or not there. The text says why.
	ErrUnfit = errors.New("it cannot have a second boot file system")
	// ErrStarted is returned when this boot was started from the mirror. Nothing was written. Do: start the machine
	// from its first boot file system; where that is damaged, install again.
	ErrStarted = errors.New("this boot was started from the second boot file system")
)

// mirror is one that is open.
type mirror struct {
	on    string // where it lies, for people: "partition 1 (EFI-MIRROR) of /dev/vdb"
	m     *upgrade.Machine
	dev   device.Device
	at    efivar.HardDrive // its partition
	first efivar.HardDrive // of the first boot file system
	close func() error
}

// Report is what is known of a mirror.
type Report struct {
	On      string
	Version string // what it is to start: the machine's default
	Behind  string // how it differs from what it is to be, a clause; "" when it is in step
	Entry   error  // why firmware would not go on to it; nil when it would
	Started bool   // this boot was started from it
}

// Fine reports whether the machine would start from it.
func (r Report) Fine() bool { return r.Behind == "" && r.Entry == nil && !r.Started }

// String says what is known in a sentence or more.
func (r Report) String() string {
	var all []string
	if r.Behind == "" {
		all = append(all, fmt.Sprintf("The second boot file system, %s, is in step: it starts version %s.", r.On,
			r.Version))
	} else {
		all = append(all, fmt.Sprintf("The second boot file system, %s, is not in step: %s.", r.On, r.Behind))
	}
	if r.Entry != nil {
		all = append(all, fmt.Sprintf("The firmware would not go on to it: %v.", r.Entry))
	}
	if r.Started {
		all = append(all, "This boot was started from it and not from the first one, so nothing is confirmed or armed.")
	}
	return strings.Join(all, " ")
}

// Warning is what people are to know of what [Look] has found; "" where the mirror is in step, and where there is none.
func Warning(r Report, err error) string {
	switch {
	case errors.Is(err, ErrNone), err == nil && r.Fine():
		return ""
	case err != nil:
		return fmt.Sprintf("The second boot file system: %v.", err)
	}
	return r.String()
}

// Look compares the mirror that META declares with what it is to be. It writes nothing. Of large files it looks at the
// size, and with deep at every byte. Without one it is [ErrNone]; one that is on no disk is [ErrGone]; several that are
// the same, as on a copy of a disk, are [partition.ErrSeveral].
func Look(m *upgrade.Machine, e Elsewhere, deep bool) (Report, error) {
	x, err := open(m, e)
	if err != nil {
		return Report{}, err
	}
	r, err := x.look(deep)
	if err = errors.Join(err, x.close()); err != nil {
		return r, fmt.Errorf("look at the second boot file system, %s: %w", x.on, err)
	}
	return r, nil
}

func (x *mirror) look(deep bool) (Report, error) {
	r := Report{On: x.on}
	var err error
	if r.Started, err = x.started(); err != nil {
		return r, err
	}
	want, err := x.wanted()
	if err != nil {
		return r, err
	}
	r.Version = want.manifest.Version
	if err := want.check(); err != nil {
		r.Behind = err.Error()
	} else if r.Behind, err = want.differs(x.dev, deep, everything); err != nil {
		return r, err
	}
	r.Entry = x.entry()
	return r, nil
}

// entry says why firmware would not go on to the mirror.
func (x *mirror) entry() error {
	order, err := x.order()
	if err != nil {
		return err
	}
	return order.Mirrored(x.at)
}

// KeepOptions are the choices of Keep.
type KeepOptions struct {
	Deep bool // compare every byte of large files too
	Move bool // put the firmware's entry where it belongs, where somebody has moved it
}

// Keep brings the mirror in step and sees to it that firmware goes on to it. With nothing to do it writes nothing. A
// cut, or an error, at any point leaves the first boot file system as it is, and a mirror that the next Keep goes on
// with. If power fails
//
//	while the slot is written     the mirror starts what it held, or has no loader: see update
//	while the rest is             the mirror has no loader, and firmware passes over it
//	before the firmware's entry   the mirror is in step; the next Keep makes the entry
//
// An entry that cannot be made is in the report and no error. The errors of opening are those of [Look]; a mirror that
// started this boot is [ErrStarted].
func Keep(ctx context.Context, m *upgrade.Machine, e Elsewhere, o KeepOptions) (Report, error) {
	x, err := open(m, e)
	if err != nil {
		return Report{}, err
	}
	r, err := x.keep(ctx, o)
	if err = errors.Join(err, x.close()); err != nil {
		return r, fmt.Errorf("keep the second boot file system, %s: %w", x.on, err)
	}
	return r, nil
}

func (x *mirror) keep(ctx context.Context, o KeepOptions) (Report, error) {
	r := Report{On: x.on}
	var err error
	if r.Started, err = x.started(); err != nil {
		return r, err
	}
	if r.Started {
		return r, ErrStarted
	}
	want, err := x.wanted()
	if err != nil {
		return r, err
	}
	r.Version = want.manifest.Version
	if err := want.check(); err != nil { // rather none than one that starts an earlier version
		return r, errors.Join(err, x.disable())
	}
	behind, err := want.differs(x.dev, o.Deep, everything)
	if err == nil && behind != "" {
		err = x.update(ctx, want)
	}
	if err != nil {
		return r, err
	}
	order, err := x.order()
	if err == nil {
		err = order.Mirror(x.at, o.Move)
	}
	if r.Entry = err; err == nil {
		r.Entry = x.entry()
	}
	return r, nil
}

// started reports whether this boot was started from the mirror. An error says that it is not known: then nothing may
// be written there.
func (x *mirror) started() (bool, error) {
	from, err := x.from()
	if err != nil {
		return false, fmt.Errorf("from which boot file system this boot was started: %w", err)
	}
	return strings.EqualFold(from, x.at.GUID.String()), nil
}

// from is the GUID of the partition that the loader of this boot was started from; "" where nobody says it.
func (x *mirror) from() (string, error) {
	guid, set, err := cmdline.One(x.m.Cmdline, cmdline.Boot)
	if set || err != nil || x.m.Vars == nil {
		return guid, err
	}
	v, err := x.m.Vars.Read(efivar.Loader("LoaderDevicePartUUID"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return efivar.DecodeString(v.Data)
}

// order is the firmware's order of boot options, seen from the first boot file system.
func (x *mirror) order() (bootorder.Order, error) {
	st, _, err := x.m.Runs()
	return bootorder.Order{
		Vars: x.m.Vars, FS: x.m.Boot, Partition: x.first, Title: "Pawl", Ours: st.Active != bootloader.None,
		Loader: bootorder.Spell(bootorder.MadeFor(x.m.Boot).Removable()), Gone: x.m.Gone,
	}, err
}

// volume opens the mirror's file system.
func (x *mirror) volume() (*bootfs.FS, error) { return openVolume(x.dev) }

func openVolume(dev device.Device) (*bootfs.FS, error) {
	return bootfs.Open(dev, bootfs.Options{Zones: bootloader.Zones()})
}

// drive says where a partition lies, as firmware names it.
func drive(p partition.Partition) (efivar.HardDrive, error) {
	guid, err := efivar.ParseGUID(p.GUID.String())
	return efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid},
		err
}
