package efivar

import "fmt"

// pawlGUID owns the one variable that is ours alone.
const pawlGUID = "a413e72d-1136-4d2d-898d-b5290b0cfa26"

// Probe asks the firmware whether it would keep size bytes more: it writes a variable of our own that large, and
// deletes it again. A firmware that is full, or refuses, is ErrNotKept; no other variable is touched. What a power cut
// leaves of it means nothing to anybody, and the next Probe deletes it.
func Probe(s Store, size int) error {
	name := Name{"PawlProbe", mustGUID(pawlGUID)}
	err := s.Delete(name)
	if err == nil {
		err = s.Write(name, Variable{Attributes: Kept, Data: make([]byte, size)})
	}
	if err == nil {
		err = s.Delete(name)
	}
	if err != nil {
		return fmt.Errorf("try to keep %d bytes of firmware variables: %w", size, err)
	}
	return nil
}

// Grown is how many bytes of data a store was given on its way from one state to another: of each variable that is new
// or has another value.
func (m *Memory) Grown(to *Memory) int {
	var n int
	for name, v := range to.values {
		if old, ok := m.values[name]; !ok || !old.Equal(v) {
			n += len(v.Data)
		}
	}
	return n
}
