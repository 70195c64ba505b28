package meta

import (
	"fmt"

	"github.com/pawl-os/pawl/partition/device"
)

// Check reads both copies and returns what is not as it should be, one sentence each. It is [ErrDamaged] when neither
// copy is valid. It writes nothing: the next Open makes copies agree.
func Check(dev device.Device) (problems []string, err error) {
	c, err := load(dev, nil)
	if err != nil {
		return nil, fmt.Errorf("check META: %w", err)
	}
	for i, good := range c.good {
		if !good {
			problems = append(problems, fmt.Sprintf("Copy %d of META is damaged.", i+1))
		}
	}
	if len(problems) == 0 && !c.same {
		problems = append(problems, "The copies of META differ: a change was cut off, and copy 1 counts.")
	}
	return problems, nil
}
