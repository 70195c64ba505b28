package disktest

// Fault is one way in which an operation of a disk fails. A fault strikes once.
type Fault int

// The faults. Each counts the operations of its own kind: reads, writes or flushes.
const (
	ReadFails  Fault = iota // a read returns EIO
	WriteFails              // a write writes nothing and returns EIO
	NoSpace                 // a write writes nothing and returns ENOSPC
	ShortWrite              // a write writes about half of the sectors and returns io.ErrShortWrite
	SyncFails               // a flush returns EIO; nothing became durable
)

// Faults lists all faults.
func Faults() []Fault { return []Fault{ReadFails, WriteFails, NoSpace, ShortWrite, SyncFails} }

// String is the fault's name.
func (f Fault) String() string {
	return [...]string{"read fails", "write fails", "no space", "short write", "flush fails"}[f]
}

type pending struct {
	left int
	kind Fault
}

// FailAt makes the nth operation from now that f concerns fail; the next one is 1. Several faults may be set.
func (d *Disk) FailAt(n int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &pending{left: n, kind: f})
	d.failed = false
}

// Failed reports whether a fault struck since the last FailAt. A loop over n ends when it is false.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// fault counts one operation and reports whether it fails.
func (d *Disk) fault(kind Fault) bool {
	struck := false
	for i := 0; i < len(d.faults); i++ {
		f := d.faults[i]
		if f.kind != kind {
			continue
		}
		if f.left--; f.left == 0 {
			struck, d.failed = true, true
			d.faults = append(d.faults[:i], d.faults[i+1:]...)
			i--
		}
	}
	return struck
}

// EachFault runs the same operation again and again, each time on a fresh clone of d with one more operation working
// before the fault strikes, for every fault, until a run meets no fault. After each run that met its fault, run's
// result is given to check, with the disk as the run left it. The first error that check returns ends the walk.
func (d *Disk) EachFault(run func(*Disk) error, check func(f Fault, n int, left *Disk, result error) error) error {
	for _, f := range Faults() {
		for n := 1; ; n++ {
			c := d.Clone()
			c.FailAt(n, f)
			result := run(c)
			if !c.Failed() {
				break
			}
			if err := check(f, n, c, result); err != nil {
				return err
			}
		}
	}
	return nil
}
