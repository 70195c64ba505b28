package proof

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
)

// loaderByHand is a replacement in the proof's own hand.
type loaderByHand struct {
	name  string
	start start
	zones []string
	lies  bool
	real  bool
	steps []string
}

var loaderHands = []loaderByHand{
	{name: "replaced before it was started once", start: refusedLoader, zones: slotZones,
		steps: []string{"spare", "remove", "write", "read"}},
	{name: "the order as it is", start: triedLoader, zones: slotZones, real: true, steps: []string{"spare", "remove",
		"write", "read"}},
	{name: "without a spare", start: otherLoader, zones: slotZones, steps: []string{"remove", "write", "read"}},
	{name: "the spare last", start: otherLoader, zones: slotZones, steps: []string{"remove", "write", "read", "spare"}},
	{name: "the spare of the other slot", start: triedLoader, zones: slotZones, steps: []string{"clear other",
		"spare of other", "remove", "write", "read"}},
	{name: "the old one stays until the new one is there", start: triedLoader, zones: slotZones,
		steps: []string{"spare", "write", "read"}},
	{name: "both copies at once", start: triedLoader, zones: slotZones, steps: []string{"spare", "remove copy",
		"remove", "write", "write copy", "read"}},
	{name: "first the copy that the machine was started from", start: replacement().starts[3], zones: slotZones,
		steps: []string{"spare", "remove copy", "write copy", "write", "read"}},
	{name: "not read back", start: triedLoader, zones: slotZones, lies: true, steps: []string{"spare", "remove",
		"write"}},
	{name: "behind a shim, the order as it is", start: triedBehindShim, zones: slotZones, real: true,
		steps: []string{"spare", "remove shim", "remove", "write", "write shim", "read"}},
	{name: "behind a shim, without a spare", start: shimmed, zones: slotZones,
		steps: []string{"remove shim", "remove", "write", "write shim", "read"}},
	{name: "behind a shim, the spare by the shim in front", start: shimmed, zones: slotZones,
		steps: []string{"spare in front", "remove shim", "remove", "write", "write shim", "read"}},
	{name: "isolation off", start: triedLoader, steps: []string{"spare", "remove", "write", "read"}},
}

func (h loaderByHand) run(m *machine) error {
	l, err := m.loaders()
	if err != nil {
		return err
	}
	if h.lies {
		m.over = &liar{Disk: m.disk, file: l.new}
		defer func() { m.over = nil }()
	}
	f, err := m.fs(h.zones...)
	if err != nil {
		return err
	}
	at, err := m.drive()
	if err != nil {
		return err
	}
	order := bootorder.Order{Vars: m.vars, FS: f, Partition: at, Loader: bootorder.Spell(loaderFile), Title: "Pawl",
		Ours: true}
	slot := m.last.Slot
	place, err := m.place()
	if err != nil {
		return err
	}
	steps := map[string]func() error{
		"spare":          func() error { return order.Spare(bootorder.Spell(slot.File(bootloader.LoaderFile))) },
		"spare of other": func() error { return order.Spare(bootorder.Spell(slot.Other().File(bootloader.LoaderFile))) },
		"clear other":    func() error { return m.empty(slot.Other()) },
		"remove":         func() error { return f.Remove(place) },
		"write":          func() error { return f.WriteFile(place, l.new) },
		"remove shim":    func() error { return f.Remove(loaderFile) },
		"write shim":     func() error { return f.WriteFile(loaderFile, shimOf("1.2.21")) },
		"spare in front": func() error { return m.spareInFront(order, slot) },
		"remove copy":    func() error { return f.Remove(slot.File(bootloader.LoaderFile)) },
		"write copy":     func() error { return f.WriteFile(slot.File(bootloader.LoaderFile), l.new) },
		"read": func() error {
			if data, err := f.ReadFile(place); err != nil || !bytes.Equal(data, l.new) {
				return errNotKept
			}
			return nil
		},
	}
	for _, name := range h.steps {
		m.disk.Step(name)
		if name == "clear other" {
			if err := steps[name](); err != nil {
				return err
			}
			if f, err = m.fs(h.zones...); err != nil {
				return err
			}
			order.FS = f
			continue
		}
		if err := steps[name](); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// spareInFront has firmware start the slot's copy by the shim that is in front of the loader.
func (m *machine) spareInFront(order bootorder.Order, slot bootloader.Slot) error {
	copied := bootorder.Spell(slot.File(bootloader.LoaderFile))
	if err := order.Spare(copied); err != nil {
		return err
	}
	names, err := m.vars.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := name.BootNumber()
		if !ok {
			continue
		}
		o, err := bootorder.Option(m.vars, n)
		if err != nil || o.Description != order.Title+" (spare loader)" {
			continue
		}
		o.Path = []efivar.Node{order.Partition.Node(), efivar.FilePath(order.Loader), efivar.End()}
		data, err := o.Encode()
		if err != nil {
			return err
		}
		return m.vars.Write(name, efivar.Variable{Attributes: efivar.Kept, Data: data})
	}
	return errors.New("there is no spare entry")
}

// loadersByHand judges replacements whose order was changed by hand.
func (p *proof) loadersByHand(w world) error {
	const kind = "order changed by hand"
	if w.kit.Loader == loaders.GRUBBIOS {
		return nil
	}
	for _, h := range loaderHands {
		m := w.bases[bootloader.A].clone()
		if err := h.start.make(m, bootloader.B); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		op := replacement()
		op.name, op.do = "loader by hand: "+h.name, h.run
		r, err := record(op, h.start, bootloader.A, m)
		if err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
		r.liar = h.lies
		err = p.breaks(r, handMutant{})
		switch {
		case h.real && err != nil:
			p.brick(fmt.Errorf("%s: %s: %w", w.kit.Loader, op.name, err))
		case !h.real && err == nil:
			p.tally(kind, func(t *tally) { t.Made++ })
			p.escape(fmt.Sprintf("%s: %s", w.kit.Loader, op.name))
		case !h.real:
			p.tally(kind, func(t *tally) { t.Made++; t.Caught++ })
			p.say("caught by hand: %-12s %-50s %.200v", w.kit.Loader, op.name, err)
		}
	}
	return nil
}
