package proof

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// predicted is how many boots a diagnosis predicts.
const predicted = 3

// foresee is what the product's own doctor says of the next boots, in the guest's words: `installer doctor` on the same
// disk and variables.
func (c bootCase) foresee(ctx context.Context) ([]string, error) {
	d, err := doctor.DiagnoseDevice(ctx, c.disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: c.vars.Clone(),
		Cmdline: new(string), BootID: "doctor", Version: "doctor"})
	if err != nil {
		return nil, err
	}
	if len(d.Boots) != predicted {
		return nil, fmt.Errorf("doctor predicts %d boots: %v", len(d.Boots), d.Findings)
	}
	var boots []string
	for _, b := range d.Boots {
		c.model = b
		boots = append(boots, c.says())
	}
	return boots, nil
}

// takeDoctor counts the boots of a case that the doctor predicted, against what the guest reported of each.
func (r *BootResult) takeDoctor(c bootCase, foreseen, guest []string) {
	for i, got := range guest {
		r.Boots++
		if foreseen[i] == got {
			r.Foreseen++
			continue
		}
		r.Differences = append(r.Differences, fmt.Sprintf("%s: boot %d: the doctor says %q, the guest %q", c.name, i+1,
			foreseen[i], got))
	}
}
