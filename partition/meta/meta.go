// Package meta keeps small tagged values on the META partition: what an operating system wants to remember across
// upgrades and boots.
//
// Start with Open; use Read to look without writing, and Format on a new partition.
//
// META is two checked copies of the same values. Readers take copy 1 if it is valid, else copy 2. Every change writes
// copy 2, flushes, writes copy 1, flushes, so a power cut at any write leaves all old or all new values. Both copies
// bad is [ErrDamaged], never an empty META. Every change reads the device again first, so a Store never brings back a
// value that another one changed; but two writers at the same moment must be kept apart by holding the device
// exclusively, as partition.Open does, also between processes.
//
// The package does not know what the values mean, and does not read the older format of syslinux.
//
// Format: Talos Linux's ADV, as github.com/siderolabs/go-adv v1.0.0 reads and writes it; see codec.go.
package meta

import (
	"errors"
	"fmt"
	"sync"

	"github.com/pawl-os/pawl/partition/device"
)

// Tags with a meaning that is known to more than one program.
const (
	TagUpgrade        uint8 = 6    // Talos: what ran before an upgrade
	TagStagedImage    uint8 = 7    // Talos: reference of the image to install at the next boot
	TagStagedOptions  uint8 = 8    // Talos: options of that install, JSON
	TagAttempt        uint8 = 0x50 // the attempt to move to a version, JSON
	TagBadDigests     uint8 = 0x51 // digests of images known as bad
	TagMachineSpecial uint8 = 0x52 // marks that make a machine unique
	TagLoader         uint8 = 0x53 // what is known of the loader that is installed, and of one that is to be, JSON
	TagInstall        uint8 = 0x54 // an install that is not done, JSON
	TagMirror         uint8 = 0x55 // the second boot file system: see package upgrade/mirror
)

// Ours reports whether Pawl keeps something of its own under a tag.
func Ours(tag uint8) bool { return TagAttempt <= tag && tag <= TagMirror }

// Errors that callers act on.
var (
	// ErrOurs is returned for a tag under which Pawl keeps its own. Do: use another one.
	ErrOurs = errors.New("under this META tag Pawl keeps its own")
	// ErrDamaged is returned when neither copy is valid. Nothing was changed. Do: restore META, or Format it and lose
	// what it held; the machine boots and falls back without it.
	ErrDamaged = errors.New("both copies of META are damaged")
	// ErrNoTag is returned when a tag has no value.
	ErrNoTag = errors.New("no value under this META tag")
	// ErrTag is returned for tag 0, which ends the list on disk.
	ErrTag = errors.New("META tag 0 cannot hold a value")
	// ErrFull is returned when the values would not fit. Nothing was changed. Do: delete or shorten some.
	ErrFull = errors.New("META is full")
	// ErrSize is returned when the device cannot hold META.
	ErrSize = errors.New("too small for META")
)

// Store is META on a device, opened for writing. Its methods are safe for concurrent use. After a write or a flush that
// failed it refuses further changes, since nobody knows what has arrived; what Open finds then counts.
type Store struct {
	mu      sync.Mutex
	dev     device.Device
	settled bool // what is read is known to be on the medium
	// the latest copy whose checksum was right, or that was made here: hashing the same again takes its time
	sound  []byte
	held   *Values // instead of a device: see Memory
	broken error   // the write or flush that failed
}

// Open checks the META on dev and, where its copies differ, makes them agree at once: with a difference left there, a
// value of an update that was cut off could come back later. The caller keeps dev and closes it after the last use.
func Open(dev device.Device) (*Store, error) {
	s := &Store{dev: dev}
	if _, err := s.settle(); err != nil {
		return nil, fmt.Errorf("open META: %w", err)
	}
	return s, nil
}

// Memory returns a Store of v in memory, on no device: to play what would happen. It has the same room as one on a
// device.
func Memory(v *Values) *Store { return &Store{held: v.clone()} }

// Clone returns another Store in memory with the same values.
func (s *Store) Clone() *Store { return Memory(s.held) }

// Read returns the values on dev and writes nothing.
func Read(dev device.Device) (*Values, error) {
	c, err := load(dev, nil)
	if err != nil {
		return nil, fmt.Errorf("read META: %w", err)
	}
	return c.values, nil
}

// Values reads all values.
func (s *Store) Values() (*Values, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.load()
	if err != nil {
		return nil, fmt.Errorf("read META: %w", err)
	}
	return c.values, nil
}

func (s *Store) load() (copies, error) {
	if s.held != nil {
		return copies{values: s.held.clone(), good: [2]bool{true, true}, same: true}, nil
	}
	c, err := load(s.dev, s.sound)
	if err == nil {
		s.sound = c.block
	}
	return c, err
}

// Value reads one value. It is [ErrNoTag] when there is none.
func (s *Store) Value(tag uint8) ([]byte, error) {
	v, err := s.Values()
	if err != nil {
		return nil, err
	}
	return v.Value(tag)
}

// Tags reads which tags have values, in rising order.
func (s *Store) Tags() ([]uint8, error) {
	v, err := s.Values()
	if err != nil {
		return nil, err
	}
	return v.Tags(), nil
}

// Set stores one value.
func (s *Store) Set(tag uint8, value []byte) error {
	return s.Update(func(v *Values) error { return v.Set(tag, value) })
}

// Delete removes a value. A tag without a value is no error.
func (s *Store) Delete(tag uint8) error {
	return s.Update(func(v *Values) error { v.Delete(tag); return nil })
}

// Update reads the values, lets change alter them, and stores them: all changes or none, whatever happens. An error of
// change is returned, and nothing is written. Values that did not change are not written either.
//
// Steps, and what is read after a power cut in each gap:
//  1. a flush, once for a Store: the values from before, or what a killed program left in a cache only
//  2. copies that differ are made the same (see Open): the values from before
//  3. copy 2 is written and flushed: copy 1, the old values
//  4. copy 1 is written and flushed: copy 2, the new values, until copy 1 is whole
//
// When a write or a flush fails, the old or the new values are read afterwards; the next Open settles which.
func (s *Store) Update(change func(*Values) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.update(change); err != nil {
		return fmt.Errorf("update META: %w", err)
	}
	return nil
}

func (s *Store) update(change func(*Values) error) error {
	if s.broken != nil {
		return fmt.Errorf("open META again: an earlier change failed: %w", s.broken)
	}
	old, err := s.settle() // 2, after 1
	if err != nil {
		return err
	}
	v := old.values.clone()
	if err := change(v); err != nil {
		return err
	}
	if s.held != nil {
		s.held = v
		return nil
	}
	if v.equal(old.values) {
		return s.begin() // what is there already is to be durable too
	}
	block, err := v.Encode()
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil { // 1
		return err
	}
	for _, copy := range []int{2, 1} { // 3, 4
		if err := s.write(copy, block, old.block); err != nil {
			return err
		}
	}
	s.sound = block
	return nil
}

// begin comes before the first write: what was read may be in a cache only, left by a program that was killed before
// its own flush. Without it both copies could be on their way to the medium at the same time.
func (s *Store) begin() error {
	if s.settled {
		return nil
	}
	if err := s.dev.Sync(); err != nil {
		s.broken = fmt.Errorf("flush: %w", err)
		return s.broken
	}
	s.settled = true
	return nil
}

func (s *Store) write(copy int, block, old []byte) error {
	s.broken = write(s.dev, copy, block, old)
	return s.broken
}

// Format makes dev an empty META. What it held is lost. A power cut leaves the old META, an empty one, or one that is
// [ErrDamaged] if dev was not a valid META before.
//
//  1. a flush, as in Update: what was read
//  2. copy 2, or copy 1 if copy 2 alone was valid; flushed: the old values
//  3. the other copy; flushed: none
func Format(dev device.Device) error {
	if dev.Size() < Size {
		return fmt.Errorf("format META: %d bytes, want %d: %w", dev.Size(), Size, ErrSize)
	}
	block, err := new(Values).Encode()
	if err != nil {
		return fmt.Errorf("format META: %w", err)
	}
	if err := dev.Sync(); err != nil { // 1
		return fmt.Errorf("format META: flush: %w", err)
	}
	order := []int{2, 1}
	if c, err := load(dev, nil); err == nil && !c.good[0] {
		order = []int{1, 2} // never write to the only valid copy
	}
	for _, copy := range order {
		if err := write(dev, copy, block, nil); err != nil {
			return fmt.Errorf("format META: %w", err)
		}
	}
	return nil
}
