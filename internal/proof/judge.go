package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// recorded is one operation that was run from one start, and all that is needed to judge what a cut of it leaves.
type recorded struct {
	op    operation
	start string
	side  bootloader.Slot
	from  *machine // before the operation
	trace *disktest.Trace

	old, armed, new *system
	attempts        map[string]bool // values of META's attempt that the operation passes through
	lastAttempt     string
	metaAt          []bool                   // by index: a write to META is not flushed
	untouchable     []area                   // what belongs to others
	nothing         bool                     // the slot that does not run has no manifest
	liar            bool                     // the device changes what is written to it
	damaged         map[bootloader.Slot]bool // slots in which something was damaged before
	view            view
}

// area is a piece of the disk that no operation may change.
type area struct {
	name string
	off  int64
	data []byte
}

// record runs an operation and prepares to judge it.
func record(op operation, s start, side bootloader.Slot, from *machine) (*recorded, error) {
	r := &recorded{op: op, start: s.name, side: side, from: from.clone(), attempts: map[string]bool{}, damaged: map[bootloader.Slot]bool{}}
	m := from
	if err := r.before(); err != nil {
		return nil, err
	}
	m.disk.Record()
	if err := op.do(m); err != nil {
		return nil, err
	}
	r.trace = m.disk.Trace()
	return r, r.after()
}

// before finds out what boots now.
func (r *recorded) before() (err error) {
	if r.op.end != stays {
		if r.new, err = r.op.what(r.from); err != nil {
			return err
		}
		if r.new == nil {
			return errors.New("nothing to boot afterwards")
		}
	}
	if r.fresh() {
		return nil
	}
	probe := r.from.clone()
	if err := probe.boot(); err != nil {
		return err
	}
	if probe.last.Trial {
		if r.armed, err = probe.running(); err != nil {
			return err
		}
		if err := probe.boot(); err != nil {
			return err
		}
	}
	if r.old, err = probe.running(); err != nil {
		return fmt.Errorf("what boots before the operation: %w", err)
	}
	for _, s := range bootloader.Slots {
		r.damaged[s] = r.from.intact(s) != nil
	}
	held, err := r.from.holds(r.from.last.Slot.Other())
	r.nothing = err == nil && held == nil
	return r.others()
}

func (r *recorded) fresh() bool { return r.from.last.Slot == bootloader.None }

// others finds the sectors of other people's files: their content, and the directories that lead to them.
func (r *recorded) others() error {
	layout, err := partition.Read(r.from.disk)
	if err != nil {
		return err
	}
	for _, label := range []string{"BIOS", "STATE"} {
		p, err := layout.Find(label)
		if err != nil {
			return err
		}
		r.protect(label, p.First*512, 8192)
	}
	for name, data := range others {
		first := append(bytes.Clone(data[:min(512, len(data))]), make([]byte, max(0, 512-len(data)))...)
		at, err := r.from.find("EFI", first)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.protect(name, at, len(data))
	}
	r.protect("partition table", 0, 34*512)
	r.protect("its backup", r.from.disk.Size()-33*512, 33*512)
	return nil
}

func (r *recorded) protect(name string, off int64, n int) {
	data := make([]byte, n)
	_, _ = r.from.disk.ReadAt(data, off)
	r.untouchable = append(r.untouchable, area{name, off, data})
}

// after follows META through the trace, and refuses writes outside of what the operation may write.
func (r *recorded) after() error {
	d := r.trace.Base()
	layout, err := partition.Read(r.trace.Final())
	if err != nil {
		return err
	}
	parts := map[string][2]int64{}
	for _, p := range layout.Partitions {
		parts[p.Label] = [2]int64{p.First * 512, (p.First + p.Sectors) * 512}
	}
	in := func(o disktest.Op, label string) bool {
		return o.Off >= parts[label][0] && o.Off+int64(len(o.Data)) <= parts[label][1]
	}
	r.metaAt = make([]bool, len(r.trace.Ops)+1)
	dirty := false
	r.note(d)
	for i, o := range r.trace.Ops {
		switch {
		case o.Kind == disktest.Write && in(o, "META"):
			dirty = true
			_, _ = d.WriteAt(o.Data, o.Off)
			r.note(d)
		case o.Kind == disktest.Flush:
			dirty = false
		case o.Kind == disktest.Write && !r.fresh() && !in(o, "EFI") && !(in(o, "EPHEMERAL") && r.op.wipes):
			return fmt.Errorf("%v: outside of the boot file system and META", o)
		}
		r.metaAt[i] = dirty
	}
	r.metaAt[len(r.trace.Ops)] = dirty
	if r.view, err = newView(r.trace); err != nil {
		return err
	}
	return r.ordered(r.trace)
}

func (r *recorded) note(d *disktest.Disk) {
	if v, _, err := readMeta(d); err == nil {
		r.lastAttempt = v
		r.attempts[v] = true
	}
}

// readMeta reads the attempt as every reader must: copy 1 if it is valid, else copy 2. found is false when META cannot
// be read.
func readMeta(d Reader) (attempt string, values *meta.Values, err error) {
	layout, err := partition.Read(readOnly{d})
	if err != nil {
		return "", nil, err
	}
	p, err := layout.Find("META")
	if err != nil {
		return "", nil, err
	}
	block := make([]byte, meta.CopySize)
	for n := range int64(2) {
		if _, err = d.ReadAt(block, p.First*512+n*meta.CopySize); err != nil {
			continue
		}
		if values, err = meta.Decode(block); err == nil {
			break
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("META cannot be read: %w", err)
	}
	data, err := values.Value(meta.TagAttempt)
	if err != nil && !errors.Is(err, meta.ErrNoTag) {
		return "", nil, err
	}
	return string(data), values, nil
}

// Reader is a disk that is only read.
type Reader interface {
	io.ReaderAt
	Size() int64
	SectorSize() int
}

type readOnly struct{ Reader }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.New("only to be read") }
func (readOnly) Sync() error                        { return nil }

// labels is what a boot started.
func (r *recorded) labels(o loadertest.Outcome) (label, error) {
	is := func(s *system) bool { return s != nil && o.Slot == s.slot && o.Digest == s.uki }
	var l label
	switch {
	case o.Slot == bootloader.None && r.fresh():
		l = none
	case o.Stuck != "":
		return 0, fmt.Errorf("nothing boots: %v", o)
	case o.Trial:
		if is(r.armed) {
			l |= theArmed
		}
		if is(r.new) && r.op.end == arms {
			l |= theTrial
		}
	default:
		if is(r.old) {
			l |= theOld
		}
		if is(r.new) && r.op.end == changes {
			l |= theNew
		}
	}
	if l == 0 {
		return 0, fmt.Errorf("booted %v; known are the default %v (%.8s), armed before %v, after it %v", o, r.old, digest(r.old), r.armed, r.new)
	}
	return l, nil
}

func digest(s *system) string {
	if s == nil {
		return ""
	}
	return s.uki
}

// allowed is what may boot after a cut in a step.
func (r *recorded) allowed(step string, finished bool) label {
	before := theOld
	if r.fresh() {
		before = none
	}
	if r.armed != nil {
		switch {
		case step == "disarm" || r.op.name == "disarm":
			before = theOld | theArmed
		case step == "" || step == "find" || r.op.end == stays && r.op.name != "prepare" && r.op.name != "rollback of an armed upgrade":
			before = theArmed
		}
	}
	after := before
	switch r.op.end {
	case arms:
		after = theTrial
	case changes:
		after = theNew
	case stays:
		if r.armed != nil && (r.op.name == "disarm" || r.op.name == "prepare" || r.op.name == "rollback of an armed upgrade") {
			after = theOld
		}
	}
	switch {
	case finished:
		return after
	case r.op.commit == "*" || r.op.commit == step && step != "":
		return before | after
	}
	return before
}

// verdict is what was found out about one crash disk.
type verdict struct {
	seen, read uint64 // see view.loader and machine.see
	label      label
}

// judge looks at one crash disk. The first error is a brick, or a lie.
func (r *recorded) judge(c *disktest.Crash) (verdict, error) {
	m, err := r.from.crashed(c)
	if err != nil {
		return verdict{}, err
	}
	for _, a := range r.untouchable {
		got := make([]byte, len(a.data))
		if _, err := m.disk.ReadAt(got, a.off); err != nil || !bytes.Equal(got, a.data) {
			return verdict{}, fmt.Errorf("%s is not as it was: %v", a.name, err)
		}
	}
	armed := m.armedSlot()
	v := verdict{seen: r.view.loader(m)}
	if v.read, err = m.see(); err != nil {
		return v, err
	}
	if v.label, err = r.labels(m.last); err != nil {
		return v, err
	}
	if want := r.allowed(c.Step, c.Finished); v.label&want == 0 {
		return v, fmt.Errorf("%v boots, where only %v may: %v", v.label, want, m.last)
	}
	if m.last.Trial != (armed != bootloader.None) {
		return v, fmt.Errorf("%v boots with slot %v armed", v.label, armed)
	}
	if r.op.wipes {
		if err := r.wiped(m, c); err != nil {
			return v, err
		}
	}
	if at := c.Index; !r.op.noMeta && !r.fresh() && at >= 0 && at < len(r.metaAt) && r.metaAt[at] {
		attempt, _, err := readMeta(m.disk)
		if err != nil {
			return v, err
		}
		if !r.attempts[attempt] || c.Finished && attempt != r.lastAttempt {
			return v, fmt.Errorf("META holds an attempt that was never recorded, or lost one: %s", attempt)
		}
	}
	return v, nil
}

// wiped holds EPHEMERAL against META: it is touched only once META says that the new version started, and META says that
// it was wiped only once it is.
func (r *recorded) wiped(m *machine, c *disktest.Crash) error {
	p, err := m.part("EPHEMERAL")
	if err != nil {
		return err
	}
	text, _, err := readMeta(m.disk)
	if err != nil {
		return err
	}
	var a upgrade.Attempt
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	touched, wiped := false, true
	for _, at := range []int64{0, p.Size() - 8192} {
		was, is := make([]byte, 8192), make([]byte, 8192)
		_, _ = r.from.disk.ReadAt(was, r.view.areas["EPHEMERAL"][0]+at)
		if _, err := m.disk.ReadAt(is, r.view.areas["EPHEMERAL"][0]+at); err != nil || !bytes.Equal(was, is) {
			touched = true
		}
		wiped = wiped && bytes.Equal(is, make([]byte, len(is)))
	}
	destroyed, _ := c.Destroyed()
	if touched && a.Phase != upgrade.Started {
		return fmt.Errorf("EPHEMERAL is wiped, and META does not say that the new version started: %q", a.String())
	}
	if a.Wiped && !wiped && !destroyed {
		return errors.New("META says that EPHEMERAL is wiped, and it is not")
	}
	return nil
}

// comesBack boots once more: what was not confirmed is over, and the default boots.
func (r *recorded) comesBack(c *disktest.Crash) error {
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	var first label
	for range 2 {
		if err := m.boot(); err != nil {
			return err
		}
		l, err := r.labels(m.last)
		if err != nil {
			return fmt.Errorf("the boot after: %w", err)
		}
		if m.last.Trial && first != 0 {
			return fmt.Errorf("a trial is repeated: %v", m.last)
		}
		if first != 0 && first&(theTrial|theArmed) == 0 && l != first {
			return fmt.Errorf("%v boots, and in the boot after it %v", first, l)
		}
		first = l
	}
	return nil
}

// whole looks at the slots that a cut left, on disks on which nothing was destroyed: a slot with a manifest holds what that
// says, from the first byte to the last. Without one it may hold anything, as a download that was cut off does.
func (r *recorded) whole(c *disktest.Crash) error {
	if r.fresh() {
		return nil
	}
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	for _, s := range bootloader.Slots {
		if r.damaged[s] {
			continue
		}
		if err := m.intact(s); err != nil {
			return fmt.Errorf("slot %v: %w", s, err)
		}
	}
	return nil
}

// intact reads a slot: its directory, and with a manifest its files.
func (m *machine) intact(s bootloader.Slot) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	if _, err := f.ReadDir(s.Dir()); err != nil {
		return err
	}
	held, err := m.holds(s)
	if err != nil || held == nil {
		return err
	}
	data, err := f.ReadFile(s.File(bootloader.UKIFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the slot is partial, and everybody can see it
	case err != nil:
		return err
	case hash(data) != held.uki:
		return fmt.Errorf("it has the manifest of version %s, and its UKI is another (%q)", held.version, m.kit.Version(hash(data)))
	}
	return nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// complete reads both slots as the product sees them: what it calls complete must be what its manifest says, byte for byte;
// the default always is.
func (r *recorded) complete(m *machine, s upgrade.Status, destroyed bool) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	for _, slot := range s.Slots {
		if slot.Content != upgrade.Complete {
			if slot.Slot == m.last.Slot {
				return fmt.Errorf("slot %v runs and is %s: %s", slot.Slot, slot.Content, slot.Problem)
			}
			continue
		}
		for _, file := range slot.Manifest.Files {
			data, err := f.ReadFile(slot.Slot.File(file.Name))
			switch {
			case err == nil && hash(data) == file.SHA256:
			case slot.Slot != m.last.Slot && (destroyed || r.damaged[slot.Slot] || r.liar):
				// A block of a slot that is being cleared was destroyed, or it was damaged before: the read-back finds it.
			default:
				return fmt.Errorf("slot %v is called complete, and %s is not what its manifest says: %v", slot.Slot, file.Name, err)
			}
		}
	}
	for name, data := range others {
		got, err := f.ReadFile(name)
		if err != nil || !bytes.Equal(got, data) {
			return fmt.Errorf("%s is not as it was: %v", name, err)
		}
	}
	return nil
}

// truth boots the crash disk, lets the system say what it makes of it, and compares that with what happened.
func (r *recorded) truth(c *disktest.Crash) (*machine, label, error) {
	m, err := r.from.crashed(c)
	if err != nil {
		return nil, 0, err
	}
	var was upgrade.Attempt
	wasBad := false
	text, values, metaErr := readMeta(m.disk)
	if metaErr == nil && text != "" {
		if err := json.Unmarshal([]byte(text), &was); err != nil {
			return nil, 0, err
		}
		if list, err := values.Value(meta.TagBadDigests); err == nil {
			wasBad = strings.Contains(string(list), was.Image)
		}
	}
	if err := m.boot(); err != nil {
		return nil, 0, err
	}
	l, err := r.labels(m.last)
	if err != nil || l == none {
		return m, l, err
	}
	b, err := m.started()
	if err != nil {
		return m, l, fmt.Errorf("started: %w", err)
	}
	var s upgrade.Status
	err = m.with(func(sys *upgrade.Machine) error { s, err = sys.Status(); return err })
	if err != nil {
		return m, l, fmt.Errorf("status: %w", err)
	}
	if !r.fresh() {
		destroyed, _ := c.Destroyed()
		if err := r.complete(m, s, destroyed); err != nil {
			return m, l, err
		}
	}
	if s.Loader.Active != m.last.Slot {
		return m, l, fmt.Errorf("slot %v runs, status says %v", m.last.Slot, s.Loader.Active)
	}
	onTrial := l&(theTrial|theArmed) != 0
	if r.fresh() && b.Trial {
		return m, l, nil // the install was cut before its own confirm; the system confirms itself and finishes it
	}
	if b.Trial != onTrial || s.Loader.Trial() != onTrial {
		return m, l, fmt.Errorf("%v boots, the system takes itself for on trial: %v", l, b.Trial)
	}
	if s.Loader.Armed != bootloader.None {
		return m, l, fmt.Errorf("slot %v is armed after the boot", s.Loader.Armed)
	}
	if metaErr != nil {
		if !r.op.noMeta && !r.fresh() {
			return m, l, metaErr
		}
		return m, l, nil
	}
	if l&theTrial != 0 {
		if err := r.silent(c); err != nil {
			return m, l, err
		}
	}
	return m, l, r.told(m, l, was, wasBad, b, s)
}

// silent lets the trial die before it says a word: the old version must say that it fell back, and hold nothing against it.
func (r *recorded) silent(c *disktest.Crash) error {
	m, err := r.from.crashed(c)
	if err != nil || r.op.noMeta {
		return err
	}
	for range 2 {
		if err := m.boot(); err != nil {
			return err
		}
	}
	b, err := m.started()
	if err != nil {
		return err
	}
	if !b.Ended || b.Attempt == nil || b.Attempt.Result != upgrade.FellBack || b.Attempt.Reason != upgrade.NotKnown {
		return fmt.Errorf("a trial died before it said a word, and the record says %v", b.Attempt)
	}
	return nil
}

// told compares the attempt on record with what happened.
func (r *recorded) told(m *machine, l label, was upgrade.Attempt, wasBad bool, b upgrade.Boot, s upgrade.Status) error {
	runs, err := m.running()
	if err != nil {
		return err
	}
	bad := false
	for _, b := range s.KnownBad {
		bad = bad || b.Image == was.Image
	}
	var is upgrade.Attempt
	if s.Attempt != nil {
		is = *s.Attempt
	}
	says := func(phase upgrade.Phase, result upgrade.Result) error {
		if is.Phase != phase || is.Result != result {
			return fmt.Errorf("%v boots, META held %q; the record says %q, want %s %s", l, was.String(), is.String(), phase, result)
		}
		return nil
	}
	switch {
	case l&(theTrial|theArmed) != 0:
		if r.op.noMeta {
			return nil
		}
		if b.Attempt == nil || is.Image != runs.image || is.To != runs.slot {
			return fmt.Errorf("%v boots, and META knows nothing of it: %q", l, is.String())
		}
		return says(upgrade.Started, "")
	case was.ID == "" && was.Phase == "" || was.Phase == upgrade.Ended:
		if is.ID != was.ID || is.Phase != was.Phase || is.Result != was.Result || is.Reason != was.Reason {
			return fmt.Errorf("an attempt that was over changed from %q to %q", was.String(), is.String())
		}
		return nil
	case was.To == runs.slot:
		return says(upgrade.Ended, upgrade.Confirmed)
	case was.Phase == upgrade.Prepared:
		return says(upgrade.Ended, upgrade.Abandoned)
	case was.Phase == upgrade.Armed:
		if bad && !wasBad || is.Reason != upgrade.NotKnown {
			return fmt.Errorf("a version that is not known to have started is held against: %q", is.String())
		}
		return says(upgrade.Ended, upgrade.FellBack)
	}
	if !bad {
		return fmt.Errorf("a version started and fell back, and is not known as bad: %q", is.String())
	}
	return says(upgrade.Ended, upgrade.FellBack)
}
