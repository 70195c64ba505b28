package upgrade

import "fmt"

// Mark is a note of the node service on the attempt: a phase that disturbed the machine and is to be undone. It is
// written before the phase begins, so that a phase which a crash cut short is undone too.
type Mark struct {
	Phase string `json:"phase"`
	Boot  string `json:"boot"`           // boot id
	Ours  bool   `json:"ours,omitempty"` // the phase came to its end, and it was not so before
}

// Mark replaces the marks on the latest attempt, open or not, with one update of META.
func (m *Machine) Mark(marks []Mark) error {
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("mark the attempt: %w", err)
	case a == nil:
		return fmt.Errorf("mark the attempt: META holds none")
	}
	a.Marks = marks
	if err := m.record(a, nil); err != nil {
		return fmt.Errorf("mark the attempt: %w", err)
	}
	return nil
}
