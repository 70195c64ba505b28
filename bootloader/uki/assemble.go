package uki

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Assemble writes the stub with the sections behind its own, and returns the bytes written. Each section starts on a
// page of its own in memory and at the stub's file alignment in the file. The stub's symbol table, its signature and
// its checksum are left out: they would not be true of the result.
//
// A stub that is no PE32+ image, has no room for the section headers, or already has a section of one of the names is
// refused before anything is written, with [ErrFormat].
func Assemble(w io.Writer, stub *io.SectionReader, sections ...Section) (int64, error) {
	p, err := plan(stub, sections)
	if err != nil {
		return 0, fmt.Errorf("assemble UKI: %w", err)
	}
	n, err := p.write(w)
	if err != nil {
		return n, fmt.Errorf("assemble UKI: %w", err)
	}
	return n, nil
}

// Size returns how many bytes Assemble writes, or its error.
func Size(stub *io.SectionReader, sections ...Section) (int64, error) {
	p, err := plan(stub, sections)
	if err != nil {
		return 0, fmt.Errorf("size UKI: %w", err)
	}
	return p.size, nil
}

// layout is the finished headers and, in file order, what follows them.
type layout struct {
	headers []byte
	parts   []part
	size    int64
}

// part is data at an offset in the file; the gap before it is zeros.
type part struct {
	name   string
	offset int64
	data   *io.SectionReader
}

func plan(stub *io.SectionReader, sections []Section) (*layout, error) {
	h, err := readHeaders(stub, stub.Size())
	if err != nil {
		return nil, fmt.Errorf("stub: %w", err)
	}
	if err := h.checkNew(sections); err != nil {
		return nil, err
	}
	l := &layout{headers: slices.Clone(h.raw)}
	le := binary.LittleEndian
	fileEnd, memoryEnd := int64(len(h.raw)), int64(0)
	for _, s := range h.sections {
		memoryEnd = max(memoryEnd, int64(s.virtualAddress)+int64(s.memorySize()))
		if s.rawSize > 0 {
			l.parts = append(l.parts, part{s.name, int64(s.rawOffset), io.NewSectionReader(stub, int64(s.rawOffset),
				int64(s.rawSize))})
			fileEnd = max(fileEnd, int64(s.rawOffset)+int64(s.rawSize))
		}
	}
	slices.SortFunc(l.parts, func(a, b part) int { return int(a.offset - b.offset) })

	initialized := int64(le.Uint32(l.headers[h.optional+8:]))
	for i, s := range sections {
		size := s.Data.Size()
		offset := alignUp(fileEnd, int64(h.fileAlignment))
		address := alignUp(memoryEnd, max(pageSize, int64(h.sectionAlignment)))
		rawSize := alignUp(size, int64(h.fileAlignment))
		fileEnd, memoryEnd, initialized = offset+rawSize, address+size, initialized+rawSize
		if fileEnd > math.MaxUint32 || memoryEnd > math.MaxUint32-pageSize {
			return nil, fmt.Errorf("section %s of %d bytes: a PE image ends at 4 GiB", s.Name, size)
		}
		l.parts = append(l.parts, part{s.Name, offset, s.Data})

		entry := l.headers[h.table+(len(h.sections)+i)*sectionSize:][:sectionSize]
		clear(entry)
		copy(entry, s.Name)
		le.PutUint32(entry[8:], uint32(size))
		le.PutUint32(entry[12:], uint32(address))
		le.PutUint32(entry[16:], uint32(rawSize))
		le.PutUint32(entry[20:], uint32(offset))
		le.PutUint32(entry[36:], initializedReadable)
	}
	l.size = fileEnd

	coff, optional := h.optional-coffSize, h.optional
	le.PutUint16(l.headers[coff+6:], uint16(len(h.sections)+len(sections)))
	le.PutUint32(l.headers[coff+12:], 0) // symbol table
	le.PutUint32(l.headers[coff+16:], 0) // symbols
	le.PutUint32(l.headers[optional+8:], uint32(min(initialized, math.MaxUint32)))
	le.PutUint32(l.headers[optional+56:], uint32(alignUp(memoryEnd, int64(h.sectionAlignment))))
	le.PutUint32(l.headers[optional+64:], 0) // checksum
	if h.directories > certificatesDir {
		clear(l.headers[optional+optionalFixed+8*certificatesDir:][:8])
	}
	return l, nil
}

// checkNew refuses sections that cannot go behind the stub's.
func (h *headers) checkNew(sections []Section) error {
	seen := map[string]bool{}
	for _, s := range h.sections {
		if strings.HasPrefix(s.name, "/") {
			return malformed("stub: section %q has its name in the symbol table; use a stripped stub", s.name)
		}
		seen[s.name] = true
	}
	for _, s := range sections {
		switch {
		case len(s.Name) < 2 || len(s.Name) > 8 || s.Name[0] != '.' || strings.Contains(s.Name, "\x00"):
			return fmt.Errorf("section name %q: want a dot and 1 to 7 bytes", s.Name)
		case seen[s.Name]:
			return malformed("section %s is in the stub or given twice", s.Name)
		case s.Data == nil || s.Data.Size() == 0:
			return fmt.Errorf("section %s is empty", s.Name)
		}
		seen[s.Name] = true
	}
	room := (len(h.raw) - h.table) / sectionSize
	if n := len(h.sections) + len(sections); n > room || n > maxSections {
		return malformed("stub: its headers have room for %d sections, %d are wanted", min(room, maxSections), n)
	}
	return nil
}

func (l *layout) write(w io.Writer) (int64, error) {
	n, err := w.Write(l.headers)
	done := int64(n)
	if err != nil {
		return done, err
	}
	for _, p := range l.parts {
		if done, err = pad(w, done, p.offset); err != nil {
			return done, err
		}
		m, err := io.Copy(w, io.NewSectionReader(p.data, 0, p.data.Size()))
		done += m
		if err == nil && m != p.data.Size() {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, fmt.Errorf("section %s: %w", p.name, err)
		}
	}
	return pad(w, done, l.size)
}

// pad writes zeros from offset done to offset until.
func pad(w io.Writer, done, until int64) (int64, error) {
	var zeros [4096]byte
	for done < until {
		n, err := w.Write(zeros[:min(int64(len(zeros)), until-done)])
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
