// Package commandline judges command lines for all the commands in one way: what is refused names the flag, and the
// nearest value that would be right.
package commandline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/internal/nearest"
)

// Word refuses a value of a flag that is none of the words.
func Word(flag, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	return fmt.Errorf("--%s %q: want %s or %s%s", flag, value, strings.Join(words[:last], ", "), words[last],
		nearest.Hint(value, words))
}

// Within refuses a value of a flag that is not from low to high.
func Within[N cmp.Ordered](flag string, value, low, high N) error {
	if value >= low && value <= high {
		return nil
	}
	nearest := low
	if value > high {
		nearest = high
	}
	return fmt.Errorf("--%s %v: want %v to %v; the nearest is %v", flag, value, low, high, nearest)
}
