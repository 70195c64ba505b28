package environment

import (
	"fmt"
	"math/rand"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
)

// disturbance is one thing that somebody, or something, did to a machine.
type disturbance struct {
	name   string
	weight int
	fits   func(string) bool // nil: all loaders
	do     func(*disturbed) (string, error)
}

// disturbed is a machine that is being disturbed.
type disturbed struct {
	*machine
	*rand.Rand
	days   []day
	day    int
	others map[string][]byte // files of others that were put there: they stay as they are
}

func uefi(l string) bool   { return l != loaders.GRUBBIOS }
func sdboot(l string) bool { return l == loaders.SystemdBoot }
func grub(l string) bool   { return l != loaders.SystemdBoot }

// disturbances are all that the generator knows.
func disturbances() []disturbance {
	return slices.Concat(variables(), files(), times(), starts(), rootDisturbances())
}

// choose draws a disturbance for a loader.
func choose(list []disturbance, l string, r *rand.Rand) int {
	sum := 0
	for _, d := range list {
		if d.fits == nil || d.fits(l) {
			sum += d.weight
		}
	}
	n := r.Intn(sum)
	for i, d := range list {
		if d.fits != nil && !d.fits(l) {
			continue
		}
		if n -= d.weight; n < 0 {
			return i
		}
	}
	return 0
}

// anySlot is one of the two.
func (d *disturbed) anySlot() bootloader.Slot {
	return pick(d.Rand, bootloader.Slots()[0], bootloader.Slots()[1])
}

// noise is so many random bytes.
func (d *disturbed) noise(n int) []byte {
	b := make([]byte, n)
	_, _ = d.Read(b)
	return b
}

// shown is what was written, for people.
func shown(b []byte) string {
	if len(b) > 60 {
		return fmt.Sprintf("%q... (%d bytes)", b[:60], len(b))
	}
	return fmt.Sprintf("%q", b)
}
