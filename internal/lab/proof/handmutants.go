package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// handMutant is one change of the order.
type handMutant struct {
	name  string
	start start
	steps []handStep
	zones []string
	lies  bool // the device changes a byte of what is written to it, once
	real  bool // no mutant: must pass
	trace func(*recorded) *disktest.Trace

	refused  error           // with which a loader may refuse that order, so that no disk comes of it
	side     bootloader.Slot // that runs; None is A
	confirms bool            // of the slot that runs, and no upgrade
}

func (k *Kit) handMutants() []handMutant {
	switch {
	case k.Root:
		return rootMutants()
	case k.grub():
		return append(commonMutants(), grubMutants()...)
	}
	return commonMutants()
}

func commonMutants() []handMutant {
	complete, usual := targetComplete, order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare",
		"record", "arm")
	without := handStep{"clear", clearByFile}
	return []handMutant{
		{name: "the order as it is", start: complete, steps: usual, zones: slotZones, real: true},
		{name: "the order as it is, over an armed target", start: armed, steps: usual, zones: slotZones, real: true},
		{name: "the order as it is, on a device that lies", start: complete, steps: usual, zones: slotZones, lies: true,
			real: true},
		{name: "disarm skipped", start: armed, zones: slotZones, refused: bootloader.ErrNoVariables,
			steps: order("withdraw", "clear", "write", "verify", "complete", "prepare", "record", "arm")},
		{name: "armed before it is read back", start: complete, zones: slotZones, lies: true,
			steps: order("disarm", "withdraw", "clear", "write", "complete", "prepare", "record", "arm", "verify")},
		{name: "not read back", start: complete, zones: slotZones, lies: true,
			steps: order("disarm", "withdraw", "clear", "write", "complete", "prepare", "record", "arm")},
		{name: "manifest before data", start: complete, zones: slotZones,
			steps: order("disarm", "withdraw", "complete", "write", "verify", "prepare", "record", "arm")},
		{name: "META after arm", start: complete, zones: slotZones,
			steps: order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare", "arm", "record")},
		{name: "isolation off", start: complete, steps: append(append(order("disarm", "withdraw"), without),
			order("write", "verify", "complete", "prepare", "record", "arm")...)},
		{name: "armed without META", start: complete, zones: slotZones,
			steps: order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare", "arm")},
		{name: "data written without clearing first", start: complete, zones: slotZones,
			steps: order("disarm", "withdraw", "write", "verify", "complete", "prepare", "record", "arm")},
		{name: "free before write", start: complete, steps: usual, zones: slotZones, trace: freeFirst},
	}
}

// freeFirst moves the first table's write of the step "clear", which frees the clusters, before the write that empties
// the directory.
func freeFirst(r *recorded) *disktest.Trace {
	dir, table := -1, -1
	for i, o := range r.trace.Ops {
		switch kind := r.view.kind(o); {
		case o.Step == "clear" && kind == directory && dir < 0:
			dir = i
		case o.Step == "clear" && kind == tableOne && table < 0:
			table = i
		}
	}
	return r.trace.Swap(dir, table)
}

// run does the steps. A device that lies may make one fail; everything else may not.
func (h handMutant) run(m *machine) error {
	img, err := m.kit.Image(next)
	if err != nil {
		return err
	}
	files, err := extract(img)
	if err != nil {
		return err
	}
	if h.lies {
		m.over = &liar{Disk: m.disk, file: files[0].data}
		defer func() { m.over = nil }()
	}
	w := &hand{m: m, to: m.last.Slot.Other(), files: files}
	if w.fs, w.loader, err = m.loader(h.zones...); err != nil {
		return err
	}
	if w.meta, err = m.meta(); err != nil {
		return err
	}
	w.man = bootloader.Manifest{Version: img.Version, Image: img.Digest, Arch: "amd64"}
	for _, f := range files {
		w.man.Files = append(w.man.Files, bootloader.File{Name: f.name, Size: int64(len(f.data)), SHA256: hash(f.data)})
	}
	if m.kit.Root {
		if err := w.listRoot(); err != nil {
			return err
		}
	}
	runs, err := m.running()
	if err != nil {
		return err
	}
	w.a = attempt.Attempt{ID: "0123456789abcdef", Kind: attempt.Upgrade, From: runs.slot, To: w.to, Old: runs.version,
		Version: img.Version, Image: img.Digest, Boots: attempt.Boots{Prepared: m.bootID()}}
	for _, s := range h.steps {
		m.disk.Step(s.name)
		if err := s.do(w); err != nil {
			if h.lies && errors.Is(err, errNotKept) {
				return nil
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// extract reads the files of a slot out of an image, the one that the loader starts first.
func extract(img *image.Image) (files []handFile, err error) {
	err = img.Extract(context.Background(), func(a image.Asset, r io.Reader) error {
		name, ok := slotFiles[a.Name]
		if !ok {
			return nil
		}
		data, err := io.ReadAll(r)
		files = append(files, handFile{name, data})
		return err
	}, nil)
	slices.SortStableFunc(files, func(a, b handFile) int { return len(b.data) - len(a.data) })
	return files, err
}

// liar is a disk that changes a byte of a file while it is written.
type liar struct {
	*disktest.Disk
	file []byte
	once sync.Once
}

func (l *liar) WriteAt(p []byte, off int64) (int, error) {
	if len(p) >= len(l.file) && bytes.Equal(p[:len(l.file)], l.file) {
		l.once.Do(func() {
			p = bytes.Clone(p)
			p[len(l.file)/2] ^= 0xff
		})
	}
	return l.Disk.WriteAt(p, off)
}
