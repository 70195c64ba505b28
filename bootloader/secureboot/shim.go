package secureboot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// shimVariables are what a shim says of itself to the operating system: it starts each boot by making them anew.
type shimVariables struct {
	insecure   bool  // a person has switched its checks off
	ignores    bool  // it does not ask db
	mok, mokx  known // who else may sign, and may not
	levels     Levels
	unread     error // why one of the switches is not known
	levelsErr  error
	told       bool // there was a shim, which made the lists
	notToldWhy error
}

// mostMok bounds the parts that a long MokList has.
const mostMok = 32

func readShim(vars Vars) (s shimVariables) {
	var a, b error
	s.insecure, a = flag(vars, Mok("MokSBStateRT"))
	s.ignores, b = flag(vars, Mok("MokIgnoreDB"))
	s.unread = errors.Join(a, b)
	_, err := vars.Read(Mok("MokListRT"))
	if s.told = !missing(err); !s.told {
		s.notToldWhy = err
	}
	s.mok, s.mokx = list(vars, Mok("MokListRT")), list(vars, Mok("MokListXRT"))
	for i := 1; i < mostMok; i++ {
		name := Mok(fmt.Sprintf("MokListRT%d", i))
		if _, err := vars.Read(name); missing(err) {
			break
		}
		s.mok = s.mok.with(list(vars, name))
	}
	v, err := vars.Read(Mok("SbatLevelRT"))
	if err == nil {
		s.levels = ParseLevels(v.Data)
	} else {
		s.levelsErr = err
	}
	return s
}

// Shim is a shim that this firmware starts, and what it lets start.
type Shim struct {
	firmware Firmware
	may, not known
	levels   []byte // its own; nil of one that knows no SBAT
}

// Shim is the shim whose section .vendor_cert is vendor, and .sbat levels; nil where it has none. A section that cannot
// be read is told by the judgements that depend on it.
//
//	0   u32  size of who may sign: a certificate, or lists     4   u32  size of who may not: lists
//	8   u32  where the one begins in the section               12  u32  where the other does
func (f Firmware) Shim(vendor, levels []byte) Shim {
	s := Shim{firmware: f, levels: levels}
	var own, ownx known
	if len(vendor) > 0 {
		own, ownx = ofVendor(vendor, 0), ofVendor(vendor, 4)
	}
	db := f.db
	if f.shim.ignores {
		db = known{}
	}
	mok := f.shim.mok
	if !f.shim.told {
		mok.unread = fmt.Errorf("this boot did not come through a shim, so MokList is not known: %w", f.shim.notToldWhy)
	}
	s.may = db.with(own, mok, known{unread: f.shim.unread}).forPrograms()
	s.not = f.dbx.with(ownx, f.shim.mokx)
	return s
}

// ofVendor reads one of the two parts of a section .vendor_cert, by where its size is.
func ofVendor(b []byte, field int) known {
	if len(b) < 16 {
		return known{unread: fmt.Errorf(".vendor_cert of %d bytes: %w", len(b), ErrFormat)}
	}
	size, at := int64(binary.LittleEndian.Uint32(b[field:])), int64(binary.LittleEndian.Uint32(b[field+8:]))
	if size > 0 && at+size > int64(len(b)) {
		return known{unread: fmt.Errorf(".vendor_cert of %d bytes, of which %d at %d: %w", len(b), size, at, ErrFormat)}
	}
	if size == 0 {
		return known{}
	}
	if part := b[at : at+size]; part[0] != 0x30 { // the beginning of a certificate
		return decode(part)
	}
	var k known
	k.addCertificate(b[at : at+size])
	return k
}

// Loader says why the shim does not start a program as the one behind it: [ErrRefused] or [ErrUnknown]. levels is the
// program's section .sbat, nil where it has none.
func (s Shim) Loader(program authenticode.Signed, levels []byte) error {
	if s.off() {
		return nil
	}
	if levels == nil && s.levels != nil {
		return s.firmware.sure(fmt.Errorf("%w: it has no SBAT, and a shim starts no loader without", ErrRefused))
	}
	return s.judge(program, levels)
}

// System says why a program that such a loader starts is not started, neither by the shim's word nor by the firmware's:
// [ErrRefused] or [ErrUnknown].
func (s Shim) System(program authenticode.Signed, levels []byte) error {
	if s.off() || s.firmware.Judge(program) == nil {
		return nil
	}
	return s.judge(program, levels)
}

func (s Shim) off() bool {
	return !s.firmware.Checks() || s.firmware.shim.insecure && s.firmware.shim.unread == nil
}

// judge holds a program against what a shim knows, by the digest that a shim makes of it.
func (s Shim) judge(program authenticode.Signed, levels []byte) error {
	f := s.firmware
	program.Digest = program.Padded
	err := f.verdict(program, s.may, s.not, "db, MokList or the shim", "dbx, MokListX or the shim")
	if err != nil {
		return f.sure(err)
	}
	if levels == nil || s.levels == nil {
		return nil
	}
	if f.shim.levelsErr != nil {
		return fmt.Errorf("%w: what SBAT is revoked is not known: %w", ErrUnknown, f.shim.levelsErr)
	}
	if err := f.shim.levels.Allow(s.levels); err != nil {
		return f.sure(fmt.Errorf("the shim: %w", err))
	}
	if err := f.shim.levels.Allow(levels); err != nil {
		return f.sure(err)
	}
	return nil
}

// Sections that a judgement needs.
const (
	VendorSection = ".vendor_cert" // of a shim
	LevelsSection = ".sbat"        // of what a shim starts
)

var _ Vars = efivar.Store(nil)
