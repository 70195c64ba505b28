package efivar

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is a Store in memory, for tests and for the building of disk images. Its zero value is not ready; use
// [NewMemory]. Its methods are safe for concurrent use; its fields are set before.
type Memory struct {
	// BeforeWrite, when set, is called before a variable changes: value is what efivarfs would be given (attributes,
	// then data), nil for a deletion. An error refuses the change and is what the writer gets. Writes that change
	// nothing do not reach it. A recording disk's Atomic fits here, and so does a firmware that says no.
	BeforeWrite func(name Name, value []byte) error
	// Unreadable are variables that are there and cannot be read, each with what a read of it says, and so does a
	// write. They can be deleted. Values does not have them.
	Unreadable map[Name]error

	mu     sync.Mutex // of values, and of Unreadable where a variable is deleted; no hook runs while it is held
	values map[Name]Variable
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{values: map[Name]Variable{}} }

// LoadMemory returns a store that holds values: the names as efivarfs spells them, the values as Variable.Bytes writes
// them.
func LoadMemory(values map[string][]byte) (*Memory, error) {
	m := NewMemory()
	for key, value := range values {
		name, err := ParseName(key)
		if err != nil {
			return nil, err
		}
		v, err := ParseVariable(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name.Name, err)
		}
		m.values[name] = v
	}
	return m, nil
}

// Values is the inverse of [LoadMemory].
func (m *Memory) Values() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := make(map[string][]byte, len(m.values))
	for name, v := range m.values {
		values[name.String()] = v.Bytes()
	}
	return values
}

// Clone returns a store with the same variables and no hook. It costs one map: values are never changed in place.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{values: maps.Clone(m.values), Unreadable: maps.Clone(m.Unreadable)}
}

// Read implements Store.
func (m *Memory) Read(name Name) (Variable, error) {
	v, ok, err := m.look(name)
	switch {
	case err != nil:
		return Variable{}, err
	case !ok:
		return Variable{}, fmt.Errorf("read variable %s: %w", name.Name, fs.ErrNotExist)
	}
	return Variable{v.Attributes, bytes.Clone(v.Data)}, nil
}

// look is a variable that is there; its data are not the caller's. err is why it cannot be read.
func (m *Memory) look(name Name) (v Variable, there bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, there = m.values[name]
	return v, there, m.Unreadable[name]
}

// Write implements Store. As in firmware, a variable's attributes cannot change while it exists.
func (m *Memory) Write(name Name, v Variable) error {
	old, ok, err := m.look(name)
	if err != nil {
		return fmt.Errorf("write variable %s: %w", name.Name, err)
	}
	if ok && old.Equal(v) {
		return nil
	}
	if ok && old.Attributes != v.Attributes {
		return fmt.Errorf("write variable %s: attributes %#x, it has %#x: %w", name.Name, v.Attributes, old.Attributes,
			fs.ErrInvalid)
	}
	if len(v.Data) == 0 {
		return fmt.Errorf("write variable %s: no data, which would delete it: %w", name.Name, fs.ErrInvalid)
	}
	if err := m.before(name, v.Bytes()); err != nil {
		return fmt.Errorf("write variable %s: %w", name.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[name] = Variable{v.Attributes, bytes.Clone(v.Data)}
	return nil
}

// Delete implements Store.
func (m *Memory) Delete(name Name) error {
	if _, ok, unreadable := m.look(name); !ok && unreadable == nil {
		return nil
	}
	if err := m.before(name, nil); err != nil {
		return fmt.Errorf("delete variable %s: %w", name.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, name)
	delete(m.Unreadable, name)
	return nil
}

// Reset drops the volatile variables, as a power cycle does.
func (m *Memory) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.values, func(_ Name, v Variable) bool { return v.Attributes&NonVolatile == 0 })
}

// List implements Store.
func (m *Memory) List() ([]Name, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := slices.AppendSeq(slices.Collect(maps.Keys(m.values)), maps.Keys(m.Unreadable))
	slices.SortFunc(names, compareNames)
	return slices.Compact(names), nil
}

func (m *Memory) before(name Name, value []byte) error {
	if m.BeforeWrite == nil {
		return nil
	}
	return m.BeforeWrite(name, value)
}

func compareNames(a, b Name) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return bytes.Compare(a.GUID[:], b.GUID[:])
}

// Absent is a store for machines without firmware variables: it holds none and keeps none.
func Absent() Store {
	m := NewMemory()
	m.BeforeWrite = func(Name, []byte) error { return errNoVariables }
	return m
}

var errNoVariables = fmt.Errorf("%w: this machine has none", ErrNotKept)
