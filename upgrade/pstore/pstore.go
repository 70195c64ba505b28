// Package pstore reads what a kernel kept of its log when it died: the records in /sys/fs/pstore, whoever keeps them
// (the firmware's variables, a piece of memory, ACPI).
//
// Start with [Dir.Read]. A dump of the kernel's log is kept in several records, which are put together again. Records
// that are not understood are left out, and left alone. Nothing is removed but by Remove.
//
// It follows the kernel's Documentation/ABI/testing/pstore and fs/pstore/platform.c ("Panic#1 Part2").
package pstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// System is where the running system has its records.
const System Dir = "/sys/fs/pstore"

// Dir is a directory of records. The empty one holds none.
type Dir string

// Dump is the end of one kernel's log, as it wrote it when something went wrong.
type Dump struct {
	ID    string    // names it by its content: 8 hex digits
	Kind  string    // the kernel's word for why: "Panic", "Oops", ...
	When  time.Time // by the clock of the kernel that wrote it
	Text  string    // its lines, the oldest first
	Files []string  // names of its records
}

// part is one record.
type part struct {
	name, source, kind string
	dump, number       int
	when               time.Time
	text               string
}

// together is how far apart the records of one dump may be written.
const together = 10 * time.Second

// maxRecords and maxRecord bound what is read.
const (
	maxRecords = 1024
	maxRecord  = 1 << 20
)

// Read returns the dumps, the oldest first. A directory that is not there holds none.
func (d Dir) Read() ([]Dump, error) {
	if d == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's records: %w", err)
	}
	var parts []part
	for _, e := range entries[:min(len(entries), maxRecords)] {
		p, ok, err := d.record(e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the kernel's records: %w", err)
		}
		if ok {
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return a.when.Compare(b.when) })
	var groups [][]part
	for _, p := range parts {
		i := slices.IndexFunc(groups, func(g []part) bool {
			return p.source == g[0].source && p.kind == g[0].kind && p.dump == g[0].dump &&
				p.when.Sub(g[0].when) < together &&
				!slices.ContainsFunc(g, func(q part) bool { return q.number == p.number })
		})
		if i < 0 {
			groups = append(groups, []part{p})
		} else {
			groups[i] = append(groups[i], p)
		}
	}
	dumps := make([]Dump, len(groups))
	for i, g := range groups {
		dumps[i] = join(g)
	}
	return dumps, nil
}

// join puts a dump together. The first part holds the end of the log.
func join(parts []part) Dump {
	slices.SortFunc(parts, func(a, b part) int { return b.number - a.number })
	d := Dump{Kind: parts[0].kind, When: parts[0].when}
	h := sha256.New()
	for _, p := range parts {
		d.Text += p.text
		d.Files = append(d.Files, p.name)
		if p.when.After(d.When) {
			d.When = p.when
		}
		fmt.Fprintf(h, "%s\n%d\n%s", p.name, len(p.text), p.text)
	}
	d.ID = fmt.Sprintf("%x", h.Sum(nil)[:4])
	return d
}

var header = regexp.MustCompile(`^([A-Z][a-z]+)#(\d+) Part(\d+)\n`)

// record reads one record; ok is false for what is no part of a dump, or could not be decompressed.
func (d Dir) record(name string) (p part, ok bool, err error) {
	rest, dmesg := strings.CutPrefix(name, "dmesg-")
	source, _, _ := strings.Cut(rest, "-")
	if !dmesg || strings.HasSuffix(name, ".enc.z") {
		return part{}, false, nil
	}
	path := filepath.Join(string(d), name)
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxRecord || !info.Mode().IsRegular() {
		return part{}, false, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return part{}, false, err
	}
	head := header.FindSubmatch(data)
	if head == nil {
		return part{}, false, nil
	}
	p = part{name: name, source: source, kind: string(head[1]), when: info.ModTime(), text: string(data[len(head[0]):])}
	p.dump, _ = strconv.Atoi(string(head[2]))
	p.number, _ = strconv.Atoi(string(head[3]))
	if p.text != "" && !strings.HasSuffix(p.text, "\n") {
		p.text += "\n"
	}
	return p, true, nil
}

// Remove removes the records of a dump; those that are gone already are no error.
func (d Dir) Remove(dump Dump) error {
	var errs []error
	for _, name := range dump.Files {
		if err := os.Remove(filepath.Join(string(d), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove the kernel's record: %w", err))
		}
	}
	return errors.Join(errs...)
}
