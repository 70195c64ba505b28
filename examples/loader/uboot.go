package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/cmdline"
)

// uBoot stands for U-Boot on a board that has it in flash, with a redundant environment on the boot file system. Slots
// are a kernel and an initramfs. Of its variables, boot_slots may be booted, boot_targets boots by itself, and trial is
// booted as long as bootcount, which U-Boot raises and saves before each such boot, is below bootlimit.
type uBoot struct{}

func (uBoot) Name() string                 { return "u-boot" }
func (uBoot) Ways() []bootloader.Way       { return nil } // there is one
func (uBoot) MaxTries() int                { return 5 }
func (uBoot) Fits(_ bootloader.Disk) error { return nil }

func (uBoot) Takes() bootloader.Takes {
	return bootloader.Takes{Slot: []string{bootloader.KernelFile, bootloader.InitrdFile, bootloader.CmdlineFile}}
}

func (uBoot) Probe(boot *bootfs.FS) (bool, error) {
	entries, err := boot.ReadDir("")
	return slices.ContainsFunc(entries, func(f bootfs.Info) bool { return f.Name == copies[0] }), err
}

func (uBoot) Install(_ bootloader.Disk, boot *bootfs.FS, _ map[string][]byte) error {
	return errors.Join(boot.WriteFile(copies[0], encode(0, nil)), boot.WriteFile(copies[1], encode(1, nil)))
}

func (uBoot) Open(c bootloader.Config) (bootloader.Bootloader, error) { return &loader{c}, nil }

// environment are U-Boot's variables. Each of the two copies is one sector: CRC-32 of all behind the serial number, the
// serial number, and NAME=VALUE, each ended by a zero. The newer one that is whole counts.
type environment map[string]string
type edit = func(e environment, held bootloader.Manifest) error

var copies = [2]string{"uboot.env", "uboot-redund.env"}

func encode(serial byte, e environment) []byte {
	b, at := make([]byte, 512), 5
	for _, name := range slices.Sorted(maps.Keys(e)) {
		at += copy(b[at:], name+"="+e[name]+"\x00")
	}
	b[4] = serial
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[5:]))
	return b
}

// read returns the variables, which copy they are from, and its serial number.
func read(boot *bootfs.FS) (e environment, from int, serial byte, err error) {
	for i, path := range copies {
		b, err := boot.ReadFile(path) // a copy that a cut left unreadable is none
		whole := err == nil && len(b) == 512 && binary.LittleEndian.Uint32(b) == crc32.ChecksumIEEE(b[5:])
		if !whole || e != nil && int8(b[4]-serial) < 0 {
			continue
		}
		e, from, serial = environment{}, i, b[4]
		for _, text := range strings.Split(strings.TrimRight(string(b[5:]), "\x00"), "\x00") {
			if name, value, ok := strings.Cut(text, "="); ok {
				e[name] = value
			}
		}
	}
	if e == nil {
		err = fmt.Errorf("no copy of U-Boot's environment is whole: %w", bootloader.ErrNotFound)
	}
	return e, from, serial, err
}

// save writes e to the older copy, then to the other. The first write decides; a cut in either leaves a whole copy.
func save(boot *bootfs.FS, e environment) error {
	_, newer, serial, err := read(boot)
	for i, at := range []int{1 - newer, newer} {
		old, unread := boot.ReadFile(copies[at])
		if err == nil && (unread != nil || string(old) != string(encode(old[4], e))) {
			err = boot.Overwrite(copies[at], encode(serial+1+byte(i), e))
		}
	}
	return err
}

// trial is the slot on trial, and how many boots it has still.
func (e environment) trial() (s bootloader.Slot, count, left int) {
	limit, _ := strconv.Atoi(e["bootlimit"])
	count, _ = strconv.Atoi(e["bootcount"])
	if s = bootloader.Slot(e["trial"]); !e.may(s) || count >= limit {
		return bootloader.None, 0, 0
	}
	return s, count, limit - count
}

func (e environment) may(s bootloader.Slot) bool {
	return s != bootloader.None && strings.Contains(e["boot_slots"], string(s))
}

func (e environment) disarm() { e["trial"], e["bootlimit"], e["bootcount"] = "", "", "" }

// loader is U-Boot on one disk.
type loader struct{ bootloader.Config }

func (l *loader) State() (bootloader.State, error) {
	e, _, _, err := read(l.FS)
	if err != nil {
		return bootloader.State{}, err
	}
	st := bootloader.State{Loader: "U-Boot", Default: bootloader.Slot(e["boot_targets"])}
	for _, s := range bootloader.Slots() {
		if e.may(s) {
			st.Bootable = append(st.Bootable, s)
		}
	}
	st.Armed, _, st.Tries = e.trial()
	slot, said, err := cmdline.One(l.Cmdline, cmdline.Slot)
	from, _, other := cmdline.One(l.Cmdline, cmdline.Boot)
	if err = errors.Join(err, other); err == nil && said && strings.EqualFold(from, l.Disk.Boot.GUID.String()) {
		st.Active, err = bootloader.ParseSlot(slot)
	}
	return st, err
}

// change changes the environment for slot s: aside, it may neither run nor boot by itself; held, it is complete.
func (l *loader) change(s bootloader.Slot, tries int, aside, held bool, do edit) error {
	st, err := l.State()
	err = errors.Join(err, bootloader.CheckTries(tries, uBoot{}.MaxTries()))
	if err == nil && (s.Other() == bootloader.None || aside && (s == st.Active || s == st.Default)) {
		err = errors.New("it runs, boots by itself, or is none")
	}
	var m bootloader.Manifest
	if err == nil && held {
		m, err = bootloader.ReadSlot(l.FS, s)
	}
	e, _, _, unread := read(l.FS)
	if err = errors.Join(err, unread); err == nil {
		if err = do(e, m); err == nil {
			err = save(l.FS, e)
		}
	}
	return err
}

func (l *loader) Withdraw(s bootloader.Slot) error {
	return l.change(s, 1, true, false, func(e environment, _ bootloader.Manifest) error {
		e.disarm()
		e["boot_slots"] = strings.ReplaceAll(e["boot_slots"], string(s), "")
		return nil
	})
}

func (l *loader) Prepare(s bootloader.Slot, m bootloader.Manifest, tries int) error {
	return l.change(s, tries, true, true, func(e environment, held bootloader.Manifest) error {
		if held.Image != m.Image || held.Version != m.Version {
			return errors.New("it holds something else")
		}
		if !e.may(s) {
			e["boot_slots"] += string(s)
		}
		return nil
	})
}

func (l *loader) Arm(s bootloader.Slot, tries int) error {
	return l.change(s, tries, true, true, func(e environment, _ bootloader.Manifest) error {
		if !e.may(s) || e["boot_targets"] == "" {
			return errors.New("it is not prepared")
		}
		e["trial"], e["bootlimit"], e["bootcount"] = string(s), strconv.Itoa(tries), "0"
		return nil
	})
}

func (l *loader) Disarm() error {
	e, _, _, err := read(l.FS)
	if err != nil {
		return err
	}
	e.disarm()
	return save(l.FS, e)
}

func (l *loader) Confirm(s bootloader.Slot) error {
	return l.change(s, 1, false, true, func(e environment, _ bootloader.Manifest) error {
		e.disarm()
		if e["boot_targets"] = string(s); !e.may(s) {
			return errors.New("it is not prepared")
		}
		return nil
	})
}
